"""Fields of a card that no run knows, and the marks where they are to be filled in."""

import re
from dataclasses import dataclass

_MARK = "FILL IN"
_MARKS = re.compile(rf"\*\*{_MARK}: ([^*]+)\*\*")


@dataclass(frozen=True)
class CardFields:
    """What its author says of a network; ``null`` leaves a mark to fill in by hand.

    Args:
        licence: Licence of the weights, by the hub's identifier, such as apache-2.0, cc-by-4.0 or
            other. It may be bound by that of the data and of the first weights.
        authors: Who made the network, and whom to ask.
        data_name: Name of the data set; a name of the hub such as user/data becomes a link.
        data_licence: Licence of the training images and labels.
        use: What the network is for, and what it is not for.
    """

    licence: str | None = None
    authors: str | None = None
    data_name: str | None = None
    data_licence: str | None = None
    use: str | None = None

    def texts(self) -> dict[str, str]:
        """The fields' texts, with a mark for each that is not given."""
        asked = {
            "licence": "licence of these weights; that of the data and of the first weights may "
            "bind it",
            "authors": "who made this network, and whom to ask",
            "data_name": "name and source of the data set",
            "data_licence": "licence of the training images and labels",
            "use": "what the network is for, who may rely on it for what, and what it is not for",
        }
        return {name: getattr(self, name) or mark(text) for name, text in asked.items()}


def mark(text: str) -> str:
    """Mark a place of the card that is to be filled in by hand."""
    return f"**{_MARK}: {text}**"


def places_to_fill_in(card: str) -> list[str]:
    """List what the marks of a card ask for."""
    return _MARKS.findall(card)
