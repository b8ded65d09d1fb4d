"""Makes clients' text safe for a mail: no mail program turns any part of it into a link.

Mail programs turn text into links by themselves. They look for a scheme, a domain, an IP address or a mail
address. All of these join their parts with the same few characters. A space after each such character breaks
the link, and a person can still read the text.
"""

import re
import unicodedata
from urllib.parse import quote

LONGEST = 100

# The last two are full stops of Chinese and Japanese, which browsers read as dots.
_JOINTS = ".:@\\\u3002\uff61"
_JOINED = re.compile(rf"\.+(?=[^.])|[{re.escape(_JOINTS)}](?=[^.])")
# No link has a single joint between two digits: 3.5 and 12:30 stay as they are.
_NUMBER = re.compile(rf"[^{re.escape(_JOINTS)}]*[0-9][.:][0-9][^{re.escape(_JOINTS)}]*")


def harmless(text: str, longest: int = LONGEST) -> str:
    """The text on one line of up to `longest` characters, without anything that becomes a link.

    Control characters and invisible characters become spaces, including those that change the text direction.
    """
    visible = "".join(_plain(char) if char.isprintable() else " " for char in text)
    words = (word if _NUMBER.fullmatch(word) else _JOINED.sub(r"\g<0> ", word) for word in visible.split())
    apart = " ".join(words)
    return apart if len(apart) <= longest else f"{apart[: longest - 1].rstrip()}…"


def web_link(url: str) -> str:
    """The URL in ASCII; empty if it is not an http(s) URL. Only for URLs from the shop itself."""
    if not url.isprintable() or not url.startswith(("https://", "http://")):
        return ""
    return quote(url, safe="!#$%&'()*+,/:;=?@[]~")


def _plain(char: str) -> str:
    """The character, or its plain form if that contains a joint: browsers read a wide dot as a dot."""
    plain = unicodedata.normalize("NFKC", char)
    return plain if any(joint in plain for joint in _JOINTS) else char
