#!/usr/bin/env bash
# Print the path of a program that the tests need; get it the way that fits the machine if it is missing.
set -euo pipefail

found() {
    local name
    for name in "$@"; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}

from_debian() {
    command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || return 1
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >&2
}

case "${1:-}" in
chromium)
    if [ -n "${MASKWRIGHT_CHROMIUM:-}" ]; then echo "$MASKWRIGHT_CHROMIUM"; exit 0; fi
    browsers=(chromium chromium-browser google-chrome google-chrome-stable)
    found "${browsers[@]}" && exit 0
    from_debian chromium fonts-dejavu-core && found "${browsers[@]}" && exit 0
    .venv/bin/playwright install chromium >&2
    .venv/bin/python -c 'from playwright.sync_api import sync_playwright as p
with p() as play: print(play.chromium.executable_path)'
    ;;
node)
    found node nodejs && exit 0
    from_debian nodejs && found node nodejs && exit 0
    echo "The JavaScript tests need Node.js 18 or newer: https://nodejs.org" >&2
    exit 1
    ;;
postgres)
    ls /usr/lib/postgresql/*/bin/postgres 2> /dev/null && exit 0
    found postgres && exit 0
    from_debian postgresql && ls /usr/lib/postgresql/*/bin/postgres && exit 0
    echo "The integration tests need PostgreSQL's server programs." >&2
    [ "${CI:-}" != true ]
    ;;
servers)
    stamp=.venv-servers/installed
    if [ requirements-servers.txt -nt "$stamp" ]; then
        { "${PYTHON:-.venv/bin/python}" -m venv .venv-servers \
            && .venv-servers/bin/pip install --quiet --disable-pip-version-check -r requirements-servers.txt \
            && touch "$stamp"; } >&2 || rm -f "$stamp"
    fi
    if [ -e "$stamp" ]; then echo .venv-servers/bin; exit 0; fi
    echo "The integration tests need the servers of requirements-servers.txt; they could not be installed." >&2
    [ "${CI:-}" != true ]
    ;;
*)
    echo "usage: tests/tools.sh chromium|node|postgres|servers" >&2
    exit 2
    ;;
esac
