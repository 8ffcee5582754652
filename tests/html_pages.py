"""Parses an HTML page to a tree of elements, with the standard library."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Element:
    """An element: name, attributes, children, and the text directly inside."""

    def __init__(self, name, attributes):
        self.name, self.attributes, self.children, self.text = name, dict(attributes), [], ""

    def all(self, name=None, **wanted):
        """Return the elements inside, in order, with these attributes ("data_class": data-class; `...`: any value)."""
        found = []
        for child in self.children:
            own = child.attributes
            if (name is None or child.name == name) and all(
                key.replace("_", "-") in own and value in (own[key.replace("_", "-")], ...)
                for key, value in wanted.items()
            ):
                found.append(child)
            found += child.all(name, **wanted)
        return found

    def whole_text(self):
        return self.text + "".join(child.whole_text() for child in self.children)

    def figures(self):
        """Return the values of the <data> elements inside, None for a dash."""
        return [
            None if e.name == "span" else float(e.attributes["value"])
            for e in self.all()
            if e.name == "data" or (e.name == "span" and e.attributes.get("class") == "none")
        ]

    def intervals(self):
        return [
            [float(e.attributes["data-low"]), float(e.attributes["data-high"])] for e in self.all("span", data_low=...)
        ]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs)
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, attrs))

    def handle_endtag(self, tag):
        assert self.open[-1].name == tag, f"</{tag}> at {self.getpos()} closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].text += data


def parse(text):
    """Return the root of the page; every element must be closed where it was opened."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == [parser.root], f"<{parser.open[-1].name}> is never closed"
    return parser.root
