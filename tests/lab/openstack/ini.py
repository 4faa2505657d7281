"""oslo.config's and Paste's format."""

from collections.abc import Mapping

Sections = Mapping[str, Mapping[str, object]]


def ini(sections: Sections) -> str:
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key} = {_text(value)}" for key, value in values.items()), ""])
        for name, values in sections.items()
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
