"""What an installation has: see docs/how_to/own_code.md; all else is in pyproject.toml."""

import setuptools

ROOMS = (
    *("core", "agents", "networks", "plasticity", "replay", "envs", "training", "cluster"),
    *("analysis", "configs", "scripts"),
)

# The rooms have names that anybody's project may have, so they are installed inside of
# effective_rainbow, whose command puts them on Python's path.
PACKAGES = {
    f"effective_rainbow.rooms.{package}": package.replace(".", "/")
    for package in setuptools.find_packages(
        include=[f"{room}{end}" for room in ROOMS for end in ("", ".*")]
    )
}

if __name__ == "__main__":
    setuptools.setup(
        packages=["effective_rainbow", *PACKAGES],
        package_dir={"effective_rainbow": "effective_rainbow", **PACKAGES},
        package_data={"effective_rainbow.rooms.analysis": ["data/*.csv"]},
    )
