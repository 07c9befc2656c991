#!/usr/bin/env bash
# Makes a fresh Debian machine ready: the system packages of bindep.txt, then a virtual environment in .venv.
# Does nothing where both are there already. Arguments: profiles of bindep.txt that are wanted besides lab and test.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
while read -r package; do
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done < <(profiles=$(IFS='|' && echo "lab|test${*:+|$*}") &&
    sed --quiet --regexp-extended "s/^([a-z0-9.+-]+) \[platform:dpkg( [a-z]+)* ($profiles)( [a-z]+)*\]$/\1/p" bindep.txt |
    sort --unique)

if ((${#missing[@]})); then
    as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    echo "Installing system packages: ${missing[*]}"
    "${as_root[@]}" apt-get update --quiet=2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

wanted=$(cat requirements.txt tests/requirements.txt | sha256sum)
if [[ ! -x .venv/bin/python || $(cat .venv/requirements.sha256 2>/dev/null) != "$wanted" ]]; then
    echo "Making the virtual environment in .venv"
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --requirement requirements.txt --requirement tests/requirements.txt
    echo "$wanted" >.venv/requirements.sha256
fi
