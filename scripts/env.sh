# shellcheck shell=bash
# To be sourced: what Ansible and the lab's programs need to be used by hand from a checkout, as the Makefile has it.
# After "make place" or "make lab".
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ANSIBLE_COLLECTIONS_PATH=$top/.build/collections
export PYTHONPATH=$top/.build/collections:$top/.build/collections/ansible_collections/tpmfleet/azure_dps/roles/lab/files
export ANSIBLE_CONFIG=$top/ansible.cfg
export PATH=$top/.venv/bin:$PATH
