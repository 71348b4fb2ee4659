// The theme's switches that open a part of the navigation have no name: give them that of the link before them.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("nav details > summary")) {
    const link = summary.closest("li")?.querySelector("a");
    summary.setAttribute("aria-label", `Pages of ${link?.textContent.trim() ?? "this part"}`);
  }

  // Reports in notebooks have light and dark charts, and ask for JupyterLab's theme: this site's is the same to them.
  const root = document.documentElement;
  const follow = () => {
    document.body.dataset.jpThemeLight = String(root.dataset.theme !== "dark");
  };
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
  follow();
});
