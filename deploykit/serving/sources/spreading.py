"""How a model's requests are spread over its versions: by its folder's own pointer, or as the server was asked to."""

from __future__ import annotations

from collections.abc import Iterable

from deploykit.artifacts.versions import Versions
from deploykit.core.errors import SettingError, unknown_name
from deploykit.serving.sources.wishes import Wish
from deploykit.serving.splits import Split


def split_in(wish: Wish | None) -> Split | None:
    """How a folder's own pointer spreads requests; None for a folder without one: that is up to the server."""
    if wish is None or not wish.pointed:
        return None
    found = Versions(wish.path).pointer()
    share = found.share if found.canary else 0.0
    return Split(canary=str(found.canary or ""), share=share, shadow=str(found.shadow or ""))


def versions_by_pointer(wish: Wish) -> Versions:
    """The versions of a folder with a pointer.

    Raises:
        SettingError: It has none.
    """
    if not wish.pointed:
        raise SettingError(f"{wish.path} has no pointer to go back with.", remedy="keep its versions in dk.Versions.")
    return Versions(wish.path)


def check_split(split: Split, wish: Wish, versions: Iterable[int]) -> None:
    """Refuse a split over versions that are not served.

    Raises:
        SettingError: Such a version is not served, two of them are one, or the folder says itself who answers.
    """
    if wish.pointed:
        raise SettingError(f"{wish.path} says itself who answers.", remedy="change that with dk.Versions.try_out.")
    served = list(map(str, versions))
    wanted = {one: str(wish.labels.get(one, one)) for one in (split.canary, split.shadow) if one}
    for version, number in wanted.items():
        if number not in served:
            raise unknown_name(f"served version of {wish.name!r}", version, served)
    if len(set(wanted.values())) < len(wanted):
        raise SettingError(f"{' and '.join(wanted)} are the same version of {wish.name!r}.")
