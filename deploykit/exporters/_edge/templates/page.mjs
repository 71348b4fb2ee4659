// Runs the model on its golden examples and on yours; nothing leaves the browser.
%%RUNTIME%%
import { beside, classes, examples, inputs, outputs } from "../javascript/model.mjs";
import { open, run } from "../javascript/run.mjs";

const bytes = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}. Serve the whole folder, not the page alone.`);
  return answer.arrayBuffer();
};
const at = (id) => document.getElementById(id);
const cell = (row, text, bad) => Object.assign(row.insertCell(), { textContent: text, className: bad ? "bad" : "" });

/** An answer in words: the class where there are classes, else the first numbers. */
function words(found) {
  return outputs.map(({ name }) => {
    const values = found[name];
    const best = values.indexOf(values.reduce((a, b) => (b > a ? b : a)));
    const shown = values.slice(0, 6).map((v) => Number(v.toPrecision(4))).join(", ") + (values.length > 6 ? ", …" : "");
    return classes.length && classes.length === values.length ? `${classes[best]} (${shown})` : `${name}: ${shown}`;
  }).join("; ");
}

async function main() {
  const runtime = await loadRuntime();
  const more = Object.fromEntries(await Promise.all(beside.map(async (n) => [n, new Uint8Array(await bytes(`../${n}`))])));
  const session = await open(runtime, await bytes("%%MODEL%%"), more);
  let wrong = 0;
  for (let number = 0; number < examples; number++) {
    const raw = await Promise.all(inputs.map(async (i, n) => i.view(await bytes(`../examples/${number}-in${n}.bin`))));
    const start = performance.now();
    const found = await run(runtime, session, raw);
    const took = performance.now() - start;
    let largest = 0, within = true;
    for (const [n, output] of outputs.entries()) {
      const golden = Array.from(output.view(await bytes(`../examples/${number}-out${n}.bin`)), Number);
      golden.forEach((wanted, place) => {
        const gap = Object.is(wanted, found[output.name][place]) ? 0 : Math.abs(wanted - found[output.name][place]);
        largest = Math.max(largest, gap);
        if (!(gap <= output.limit)) within = false;
      });
    }
    wrong += within ? 0 : 1;
    const row = at("examples").insertRow();
    cell(row, number), cell(row, words(found)), cell(row, largest.toExponential(1), !within), cell(row, `${took.toFixed(1)} ms`);
  }
  at("status").textContent = wrong
    ? `${wrong} of ${examples} golden examples are answered differently than by the measured model.`
    : `All ${examples} golden examples are answered as by the measured model.`;
  at("status").className = wrong ? "bad" : "good";
  own(runtime, session);
}

function own(runtime, session) {
  const files = inputs.map((input) => {
    const label = document.createElement("label");
    const file = Object.assign(document.createElement("input"), { type: "file", required: true });
    label.append(`${input.name}: a file of ${input.count} raw ${input.raw} values `, file);
    at("files").append(label);
    return file;
  });
  at("own").querySelector("button").disabled = false;
  at("own").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const raw = await Promise.all(files.map(async (file, n) => inputs[n].view(await file.files[0].arrayBuffer())));
      at("answer").textContent = words(await run(runtime, session, raw));
    } catch (error) {
      at("answer").textContent = String(error.message ?? error);
    }
  });
}

main().catch((error) => {
  at("status").textContent = `It does not run: ${error.message ?? error} Run "npm install" in the folder if the runtime is missing.`;
  at("status").className = "bad";
});
