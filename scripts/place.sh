#!/usr/bin/env bash
# Puts the collection where Ansible and ansible-test look for one: ROOT/ansible_collections/tpmfleet/azure_dps.
# A copy, because ansible-test resolves symbolic links before it looks where it stands.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$1/ansible_collections/tpmfleet/azure_dps

mkdir -p "$place"
# tests/output is kept: ansible-test has its tools in there.
find "$place" -mindepth 1 -maxdepth 1 ! -name tests -exec rm -rf {} +
find "$place/tests" -mindepth 1 -maxdepth 1 ! -name output -exec rm -rf {} + 2>/dev/null || true
git ls-files --cached --others --exclude-standard -z |
    while IFS= read -r -d '' file; do if [[ -e $file ]]; then printf '%s\0' "$file"; fi; done |
    tar --create --null --files-from=- | tar --extract --directory="$place"
