"""Print each core dependency of a pyproject.toml at the lowest version it allows, one requirement a line."""

import re
import sys
import tomllib


def main() -> None:
    """Read the file named by the first argument."""
    with open(sys.argv[1], "rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    for line in dependencies:
        name, _, version = line.partition(">=")
        if not re.fullmatch(r"[0-9.]+", version):
            sys.exit(f"{line}: a core dependency is written NAME>=VERSION")
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
