#!/usr/bin/env bash
# Makes a fresh Debian machine ready: the system packages of bindep.txt, and a virtual environment in .venv.
# Does nothing where both are there already. Arguments: profiles of bindep.txt that are wanted besides lab and test.
set -euo pipefail
cd "$(dirname "$0")/.."

# Where Debian has programs for root, which not everybody's PATH names.
PATH=$PATH:/usr/sbin:/sbin
as_root=()
[[ $(id -u) -eq 0 ]] || as_root=(sudo)

# The packages of bindep.txt's profiles $1, which stand with | between them, that are not installed.
missing() {
    local package
    sed --quiet --regexp-extended "s/^([a-z0-9.+-]+) \[platform:dpkg( [a-z]+)* ($1)( [a-z]+)*\]$/\1/p" bindep.txt |
        sort --unique |
        while read -r package; do
            dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
                echo "$package"
        done
}

install() {
    echo "Installing system packages: $*"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --quiet=2 --yes --no-install-recommends "$@" >/dev/null </dev/null
}

# Has the kernel run programs of arm64 and armhf by qemu-user. A service does so at boot: where no systemd runs, none did.
emulate() {
    local format
    for format in $(update-binfmts --display | sed -nE 's/^(qemu-(aarch64|arm)) \(disabled\):$/\1/p'); do
        "${as_root[@]}" update-binfmts --enable "$format" || return
    done
}

make_environment() {
    echo "Making the virtual environment in .venv"
    python3 -m venv .venv &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --requirement requirements.txt --requirement tests/requirements.txt &&
        echo "$wanted" >.venv/requirements.sha256
}

profiles=$(IFS='|' && echo "lab|test${*:+|$*}")
wanted=$(cat requirements.txt tests/requirements.txt | sha256sum)
environment_is_there=false
if [[ -x .venv/bin/python && $(cat .venv/requirements.sha256 2>/dev/null) == "$wanted" ]]; then
    environment_is_there=true
fi

mapfile -t packages < <(missing "$profiles")
if ((${#packages[@]})); then
    "${as_root[@]}" apt-get update --quiet=2
    # What pip builds with has to be there before it; all the others are installed beside it.
    mapfile -t packages < <(missing build)
    if ((${#packages[@]})) && ! $environment_is_there; then
        install "${packages[@]}"
    fi
    mapfile -t packages < <(missing "$profiles")
fi

installing=
if ((${#packages[@]})); then
    # A Ctrl-C is for both: without the trap, what runs beside a script would not hear it.
    (trap - INT && install "${packages[@]}") &
    installing=$!
fi
failed=()
$environment_is_there || make_environment || failed+=("the virtual environment in .venv could not be made")
[[ -z $installing ]] || wait "$installing" || failed+=("not all system packages could be installed: ${packages[*]}")
[[ $profiles != *emulation* ]] || emulate || failed+=("the kernel was not told how to run arm64 and armhf")
for what in "${failed[@]}"; do
    echo "scripts/setup.sh: $what; what failed is said above. Mend it, and run this again." >&2
done
((${#failed[@]} == 0))
