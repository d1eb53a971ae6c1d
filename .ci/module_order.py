"""Which module of a package names which, and whether that keeps to the order in docs/architecture.md.

A module is a file together with its folder. Two modules of one folder never name each other in a circle. At the top
of a package each module stands in a line of the page's list, and names modules of lower lines only. Names are followed
through re-exports to the module that holds them. Code that only tests compile is left out.
Reads sources and the page; compiles nothing. A trait's implementation counts for the module in which it stands.
"""

import re
from collections import defaultdict

TOKEN = re.compile(r'''
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<raw>\bb?r(?P<hash>\#*)".*?"(?P=hash))
  | (?P<text>b?"(?:\\.|[^"\\])*")
  | (?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])')
''', re.S | re.X)
TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]")
CHILD = re.compile(r"((?:#\[[^\]]*\]\s*)*)\b(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
USE = re.compile(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
PATH = re.compile(r"\b(?:crate|super|self)(?:::(?:super|[A-Za-z_]\w*))+")


def bare(text):
    """Sources without comments, literals and what only tests compile."""
    text = TOKEN.sub(lambda found: " " if found["comment"] else '""', text)
    while found := TEST.search(text):
        text = text[:found.start()] + text[end_of_item(text, found.end()):]
    return text


def end_of_item(text, start):
    """Behind the item that begins here, its further attributes included."""
    depth, place = 0, start
    while place < len(text):
        letter = text[place]
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0 and letter == "}":
                return place + 1
            if depth < 0:
                return place
        elif letter in ";," and depth == 0:
            return place + 1
        place += 1
    return place


def leaves(tree, prefix=()):
    """The paths of a `use`, with the names under which they come: (path, name)."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace >= 0:
        head = tuple(part for part in tree[:brace].split("::") if part.strip())
        inner, depth, start = tree[brace + 1:tree.rindex("}")], 0, 0
        for place, letter in enumerate(inner + ","):
            depth += (letter == "{") - (letter == "}")
            if letter == "," and depth == 0:
                if inner[start:place].strip():
                    yield from leaves(inner[start:place], prefix + tuple(part.strip() for part in head))
                start = place + 1
        return
    path, _, name = tree.partition(" as ")
    parts = prefix + tuple(part.strip() for part in path.split("::") if part.strip())
    if parts[-1] == "self":
        parts = parts[:-1]
    yield parts, name.strip() or parts[-1]


class Package:
    """The modules below one root file. `planted` is text to read behind that of some modules, for the self-test."""

    def __init__(self, root, planted=None):
        self.planted = planted or {}
        self.files = {}
        self.exports = defaultdict(dict)
        self.globs = defaultdict(list)
        self.named = defaultdict(set)
        self.read((), root, root.parent)
        for module in self.files:
            self.link(module)

    def read(self, module, file, folder):
        text = bare(file.read_text() + self.planted.get(module, ""))
        self.files[module] = text
        for found in CHILD.finditer(text):
            name = found[2]
            at = folder / f"{name}.rs"
            path = re.search(r'path\s*=\s*""', found[1])
            if at.exists() and not path:
                self.read((*module, name), at, folder / name)

    def link(self, module):
        text = self.files[module]
        rest = []
        last = 0
        for found in USE.finditer(text):
            rest.append(text[last:found.start()])
            last = found.end()
            for path, name in leaves(found[2]):
                whole = self.absolute(module, path)
                if whole is None:
                    continue
                self.named[module].add(whole)
                if found[1]:
                    if name == "*":
                        self.globs[module].append(whole[:-1])
                    else:
                        self.exports[module][name] = whole
        rest.append(text[last:])
        for found in PATH.finditer(" ".join(rest)):
            whole = self.absolute(module, tuple(found[0].split("::")))
            if whole is not None:
                self.named[module].add(whole)

    def absolute(self, module, path):
        at = module
        if path[0] == "crate":
            at, path = (), path[1:]
        elif path[0] in ("self", "super"):
            while path and path[0] in ("self", "super"):
                if path[0] == "super":
                    if not at:
                        return None
                    at = at[:-1]
                path = path[1:]
        elif (*module, path[0]) not in self.files:
            return None
        return (*at, *path)

    def home(self, path, seen=frozenset()):
        """The module that holds what a path leads to."""
        at = ()
        for place, part in enumerate(path):
            if (*at, part) in self.files:
                at = (*at, part)
                continue
            if part in self.exports[at] and (at, part) not in seen:
                return self.home((*self.exports[at][part], *path[place + 1:]), seen | {(at, part)})
            return at
        return at

    def arrows(self):
        """By parent: child -> other child -> the pairs of modules that make the arrow."""
        found = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        for module, paths in self.named.items():
            for path in paths:
                target = self.home(path)
                same = 0
                while same < min(len(module), len(target)) and module[same] == target[same]:
                    same += 1
                if same < len(module) and same < len(target):
                    found[module[:same]][module[same]][target[same]].add((module, path))
        return found


def circles(graph):
    """Strongly connected parts with more than one member."""
    index, low, stack, on, out, count = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = count[0]
        count[0] += 1
        stack.append(node)
        on.add(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = []
            while True:
                other = stack.pop()
                on.discard(other)
                part.append(other)
                if other == node:
                    break
            if len(part) > 1:
                out.append(sorted(part))

    for node in list(graph):
        if node not in index:
            visit(node)
    return out


def written_order(page):
    """By package: the lines of the page's lists, top first."""
    section = page.read_text().split("\n## Module order\n", 1)[1].split("\n## ", 1)[0]
    return {
        package: [line.split() for line in lines.strip().splitlines()]
        for package, lines in re.findall(r"### `([\w-]+)`\n+```\n(.*?)```", section, re.S)
    }


def shown(module):
    return "::".join(module) or "crate"


def faults(name, package, order):
    """What is wrong with the arrows of a package, a line each."""
    arrows = package.arrows()
    for parent, graph in sorted(arrows.items()):
        for part in circles(graph):
            ways = []
            for one in part:
                for other in sorted(part):
                    if other in graph[one]:
                        module, path = min(graph[one][other])
                        ways.append(f"{shown(module)} names {shown(path)}")
            yield f"{name}: circle in {shown(parent)} between {', '.join(part)}: {'; '.join(ways)}"
    line_of = {module: place for place, line in enumerate(order) for module in line}
    top = {module[0] for module in package.files if module}
    for module in sorted(top - line_of.keys()):
        yield f"{name}: module {module} is not in the order of docs/architecture.md"
    for module in sorted(line_of.keys() - top):
        yield f"{name}: module {module} of the order in docs/architecture.md does not exist"
    for one, others in sorted(arrows[()].items()):
        for other, ways in sorted(others.items()):
            if line_of.get(one, -1) >= line_of.get(other, len(order)):
                module, path = min(ways)
                yield f"{name}: {shown(module)} names {shown(path)}, which does not stand below it in docs/architecture.md"


def self_test(root, order):
    """Plants one import from above and one circle, and expects each to be found."""
    if len(order) > 1:
        low, high = order[-1][0], order[0][0]
        upward = Package(root, {(low,): f"\nuse crate::{high}::Planted;\n"})
        assert any(f"{low} names" in fault for fault in faults("planted", upward, order)), "an import from above passes"
    package = Package(root)
    for parent, graph in package.arrows().items():
        for one, others in graph.items():
            for other in others:
                if parent:
                    path = "::".join(("crate", *parent, one))
                    circle = Package(root, {(*parent, other): f"\nuse {path}::Planted;\n"})
                    found = [fault for fault in faults("planted", circle, order) if "circle" in fault]
                    assert found, "a circle passes"
                    return
