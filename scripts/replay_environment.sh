#!/bin/sh
# Makes the replay server's environment: sh replay_environment.sh DIRECTORY [PYTHON]
#
# dm-reverb has wheels for Python 3.11 and older alone. Where there is no such interpreter, as on
# Ubuntu 24.04 and Debian 13, uv (a package like any other) fetches one.
set -eu
directory=$1
python=${2:-python3.11}
requirements=$(dirname "$0")/../constraints-replay.txt

fail() {
	echo "error: $*" >&2
	exit 1
}

if command -v "$python" >/dev/null && "$python" -c '' 2>/dev/null; then
	"$python" -m venv "$directory"
else
	tools=$directory/tools
	base=$(command -v python3) || fail "no $python and no python3: install Python 3.11, or say REPLAY_PYTHON=..."
	echo "no $python: uv fetches one"
	"$base" -m venv "$tools"
	"$tools/bin/pip" install --quiet --disable-pip-version-check uv
	UV_PYTHON_INSTALL_DIR=$directory/python "$tools/bin/uv" python install --quiet 3.11 ||
		fail "no $python, and uv could not fetch one: install Python 3.11, or say REPLAY_PYTHON=..."
	found=$(UV_PYTHON_INSTALL_DIR=$directory/python "$tools/bin/uv" python find --managed-python 3.11)
	"$found" -m venv "$directory"
fi
"$directory/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
