"""The rules of the architecture as functions from a tree to a list of violations.

They read source text only, so that a planted violation in a copy of the tree is found like one in the tree itself.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

LAYERS = (
    (
        "errors",
        "dtypes",
        "schema",
        "teachers",
        "prompts",
        "plugins",
        "optional",
        "folders",
        "progress",
        "roots",
        "settings",
        "doctor",
        "hook",
        "endpoint",
        "journal",
    ),
    ("findings",),
    ("mimic",),
    ("synth",),
    ("data",),
    ("drift",),
    ("align",),
    ("evaluation",),
    ("recipes", "app"),
    ("cli",),
)
"""Import order: each layer may import itself and what stands above it here."""

PLUGIN_FOLDERS = (
    "findings/adapters",
    "drift/stats",
    "align/consensus",
    "align/methods",
    "evaluation/tasks",
    "evaluation/metrics",
    "recipes",
)
LATE_IMPORT_FILES = ("optional.py", "plugins.py")
MAX_FILE, MAX_FUNCTION, MAX_ARGUMENTS = 400, 60, 7


def sources(root: Path) -> list[Path]:
    """All Python files of the package."""
    return sorted((root / "cxr_max").rglob("*.py"))


def _layer(name: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


def _own_imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted cxr_max modules a file imports anywhere, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "cxr_max")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "RELATIVE", node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cxr_max":
            yield from ((f"{node.module}.{a.name}", node.lineno) for a in node.names)


def import_order(root: Path) -> list[str]:
    """Imports against the order of the layers, relative imports, and files outside any layer."""
    found = []
    for path in sources(root):
        where = path.relative_to(root)
        top = path.relative_to(root / "cxr_max").parts[0].removesuffix(".py")
        if top == "__init__":
            continue
        mine = _layer(top)
        if mine is None:
            found.append(f"{where}: in no layer of the architecture")
            continue
        for name, line in _own_imports(ast.parse(path.read_text())):
            if name == "RELATIVE":
                found.append(f"{where}:{line}: relative import")
                continue
            parts = name.split(".")
            theirs = _layer(parts[1]) if len(parts) > 1 else None
            if theirs is not None and theirs > mine:
                found.append(f"{where}:{line}: imports {name}, which stands to its right")
    return found


def cycles(root: Path) -> list[str]:
    """Groups of modules that import each other."""
    graph: dict[str, set[str]] = {}
    modules = {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in sources(root)}
    for name, path in modules.items():
        targets = set()
        for imported, _ in _own_imports(ast.parse(path.read_text())):
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            # The package's own __init__ is what every module loads first; it imports only base modules.
            if imported not in ("", "cxr_max", name):
                targets.add(imported)
        graph[name] = targets
    return [f"import cycle: {' -> '.join(c)}" for c in _find_cycles(graph)]


def _find_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    state: dict[str, int] = {}
    found: list[list[str]] = []

    def visit(node: str, stack: list[str]) -> None:
        state[node] = 1
        for target in sorted(graph.get(node, ())):
            if state.get(target) == 1:
                found.append([*stack[stack.index(target) :], target] if target in stack else [node, target])
            elif target not in state:
                visit(target, [*stack, target])
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            visit(node, [node])
    return found


def late_imports(root: Path) -> list[str]:
    """Imports inside functions, other than in the files made for them."""
    found = []
    for path in sources(root):
        if path.name in (*LATE_IMPORT_FILES, "__init__.py"):
            continue
        for function in _functions(ast.parse(path.read_text())):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.append(f"{path.relative_to(root)}:{node.lineno}: import inside a function")
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def limits(root: Path) -> list[str]:
    """Files, functions and argument lists over their limits."""
    found = []
    more = [p for folder in ("loading_script", "benchmarks", "examples") for p in (root / folder).rglob("*.py")]
    for path in (*sources(root), *sorted(more)):
        text = path.read_text()
        where = path.relative_to(root)
        if len(text.splitlines()) > MAX_FILE:
            found.append(f"{where}: {len(text.splitlines())} lines, at most {MAX_FILE}")
        for f in _functions(ast.parse(text)):
            length = (f.end_lineno or f.lineno) - f.lineno + 1
            if length > MAX_FUNCTION:
                found.append(f"{where}:{f.lineno}: {f.name} has {length} lines, at most {MAX_FUNCTION}")
            args = [
                a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")
            ]
            if len(args) > MAX_ARGUMENTS and where.parts[:2] != ("cxr_max", "cli"):
                found.append(f"{where}:{f.lineno}: {f.name} takes {len(args)} arguments, at most {MAX_ARGUMENTS}")
    return found


def plugins(root: Path) -> list[str]:
    """Plug-ins without a docstring, or whose name no test file of their folder mentions."""
    found = []
    for folder in PLUGIN_FOLDERS:
        tests = "\n".join(p.read_text() for p in sorted((root / "tests" / folder.split("/")[0]).rglob("*.py")))
        for path in sorted((root / "cxr_max" / folder).glob("*.py")):
            if path.stem.startswith("_"):
                continue
            where = path.relative_to(root)
            if not ast.get_docstring(ast.parse(path.read_text())):
                found.append(f"{where}: plug-in without a docstring")
            if not re.search(rf"\b{re.escape(path.stem)}\b", tests):
                found.append(f"{where}: plug-in without a test under tests/{folder.split('/')[0]}")
    return found


def docstrings(root: Path) -> list[str]:
    """Public modules, classes and functions of the package without a docstring."""
    found = []
    for path in sources(root):
        tree = ast.parse(path.read_text())
        where = path.relative_to(root)
        if not ast.get_docstring(tree) and not path.name.startswith("_"):
            found.append(f"{where}: module without a docstring")
        nodes = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        for node in nodes:
            if not node.name.startswith("_") and not ast.get_docstring(node):
                found.append(f"{where}:{node.lineno}: {node.name} without a docstring")
    return found


def prints(root: Path) -> list[str]:
    """Calls of print outside of the command line."""
    found = []
    for path in sources(root):
        if "cli" in path.relative_to(root).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(f"{path.relative_to(root)}:{node.lineno}: print outside of cli/")
    return found


_MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|tmp|root|home|Users)/[\w.]|[.]{2}/(?:shared|\.library)")
_SILENCED = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)|\bTO" + r"DO\b|\bFIX" + r"ME\b|@pytest\.mark\.xfail")


def texts(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Every line of every text file git tracks, or of all files outside a checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=False
    )
    names = (
        listed.stdout.splitlines() if listed.returncode == 0 else [str(p.relative_to(root)) for p in root.rglob("*")]
    )
    for name in sorted(names):
        path = root / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".sh", ".txt", ".j2", ""}:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                yield Path(name), number, line


def machine_paths(root: Path) -> list[str]:
    """Absolute paths of a machine."""
    return [f"{name}:{n}: path of a machine" for name, n, line in texts(root) if _MACHINE_PATH.search(line)]


def silenced(root: Path) -> list[str]:
    """Blanket type ignores, blanket noqa, expected failures and unfinished marks."""
    return [
        f"{name}:{n}: silenced or unfinished"
        for name, n, line in texts(root)
        if name.suffix == ".py" and _SILENCED.search(line)
    ]


_COLLECTED = re.compile(
    r"\.(?:metadata|splits|labels)\((?:[^()]|\([^()]*\))*\)(?:\.\w+\((?:[^()]|\([^()]*\))*\))*\.collect\(\)"
)


def quoting(root: Path) -> list[str]:
    """Tables of MIMIC-CXR collected by Polars itself, whose errors quote cells; `mimic.tables.collect` does not."""
    return [
        f"{path.relative_to(root)}:{number}: use mimic.tables.collect"
        for path in sources(root)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _COLLECTED.search(line)
    ]


ALL = (import_order, cycles, late_imports, limits, plugins, docstrings, prints, machine_paths, silenced, quoting)
