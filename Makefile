# The whole use of this repository: make demo, make test, make lab, make lab-down.

SHELL := /bin/bash
DEVICES ?= 8
LAB_DIR ?= $(CURDIR)/.lab
PYTEST_ARGS ?=
# Kept from one run to the next; made in minutes where they are not there.
IMAGES ?= $(CURDIR)/.build/images

COLLECTIONS := $(CURDIR)/.build/collections
COLLECTION := $(COLLECTIONS)/ansible_collections/tpmfleet/azure_dps
BIN := $(CURDIR)/.venv/bin

# PATH, so that every tool that a tool starts is the virtual environment's.
export PATH := $(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export PYTHONPATH := $(COLLECTIONS):$(COLLECTION)/roles/lab/files
export ANSIBLE_CONFIG := $(COLLECTION)/ansible.cfg
# Else each of the hundreds of programs that the tests start compiles its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup place demo lab lab-vm lab-down clean docs \
	test test-collection test-device-python test-device-python-as-a-whole test-machine test-machine-as-a-whole test-vm \
	test-devices test-architectures bench-enrollments bench-herd bench-line bench-scale bench-ledger

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand --tabs=20

setup:  ## system packages and the virtual environment
	@scripts/setup.sh $(PROFILES)

lab-vm test test-vm test-devices: PROFILES = vm
test-architectures: PROFILES = vm emulation

place: setup
	@scripts/place.sh $(COLLECTIONS)

demo: place  ## five steps over a rack of DEVICES simulated devices, twice, then a table and one line of JSON
	@cd $(COLLECTION) && $(BIN)/python -m line_demo --devices $(DEVICES)

# All parts at once. What the short ones print comes as a whole when they end, in between the first one's.
test: place  ## everything: unit, integration, sanity, lint, and the line over a real machine in short
	@$(MAKE) --no-print-directory --jobs 3 test-collection test-device-python $(if $(PYTEST_ARGS),,test-machine)

# In their own order, house and integration come first: files of few tests that take minutes would else be the last ones,
# when one worker has nothing left to do. With exec, so that a signal to make reaches pytest.
test-collection:
	@cd $(COLLECTION) && exec $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		--durations 25 --durations-min 10 $(PYTEST_ARGS)

test-device-python test-machine:
	@$(MAKE) --no-print-directory --output-sync $@-as-a-whole

test-device-python-as-a-whole:
	@echo
	@cd $(COLLECTION) && exec /usr/bin/python3 -m pytest -p no:cacheprovider tests/unit/plugins/module_utils/tpm

test-machine-as-a-whole:
	@echo
	@cd $(COLLECTION) && LAB_IMAGES=$(IMAGES) exec $(BIN)/python -m pytest -p no:cacheprovider -m in_short tests/machines

lab: place  ## start the rack and the emulated service and leave them running
	@cd $(COLLECTION) && $(BIN)/ansible-playbook playbooks/lab_up.yml \
		-e lab_dir=$(LAB_DIR) -e lab_devices=$(DEVICES) >&2
	@echo $(LAB_DIR)/lab.json

lab-vm: place  ## the same with real machines (QEMU), DEVICES of them, by default 1
	@cd $(COLLECTION) && $(BIN)/ansible-playbook playbooks/lab_up.yml -e lab_dir=$(LAB_DIR) -e lab_machines=true \
		-e lab_images=$(IMAGES) -e lab_devices=$(if $(filter file,$(origin DEVICES)),1,$(DEVICES)) >&2
	@echo $(LAB_DIR)/lab.json

test-vm: place  ## the line over real machines
	@cd $(COLLECTION) && LAB_IMAGES=$(IMAGES) $(BIN)/python -m pytest -p no:cacheprovider tests/machines $(PYTEST_ARGS)

# LAB_SUITES and LAB_MIRRORS say which devices others are, and what they are made from: tests/devices/device_suites.py.
test-devices: place  ## the line over simulated devices of Debian 11, 12 and 13
	@cd $(COLLECTION) && LAB_IMAGES=$(IMAGES) $(BIN)/python -m pytest -p no:cacheprovider tests/devices $(PYTEST_ARGS)

test-architectures: export LAB_SUITES ?= bookworm/arm64 bookworm/armhf
test-architectures: place  ## the same over devices of other architectures, by qemu-user: arm64 and armhf
	@cd $(COLLECTION) && LAB_IMAGES=$(IMAGES) $(BIN)/python -m pytest -p no:cacheprovider tests/devices $(PYTEST_ARGS)

lab-down: place  ## end what make lab started
	@cd $(COLLECTION) && $(BIN)/ansible-playbook playbooks/lab_down.yml -e lab_dir=$(LAB_DIR)

bench-enrollments: place  ## one line of JSON: records a second for create, no-op and throttled, and peak memory
	@cd $(COLLECTION) && $(BIN)/python tests/bench/bench_enrollments.py

bench-herd: place  ## one line of JSON: 1,000 field clients that power up together, and the calls that it took
	@cd $(COLLECTION) && $(BIN)/python tests/bench/client_herd.py

bench-line: place  ## one line of JSON and a plot: steps 2 and 3 beside a naive playbook and a program by hand
	@cd $(COLLECTION) && $(BIN)/python tests/bench/bench_line.py \
		--devices $(if $(filter file,$(origin DEVICES)),16,$(DEVICES)) --plot $(CURDIR)/.build/bench-line.svg

bench-scale: place  ## one line of JSON: made-up devices, 10 to 1,000 in a play, and how the controller's share grows
	@cd $(COLLECTION) && $(BIN)/python tests/bench/bench_scale.py

bench-ledger: place  ## a line of JSON a database: look-ups, a batch and counts in a ledger of a million devices
	@cd $(COLLECTION) && $(BIN)/python tests/bench/bench_ledger.py \
		--devices $(if $(filter file,$(origin DEVICES)),1000000,$(DEVICES))

docs: place  ## the documentation site, in .build/docs
	@cd $(COLLECTION) && $(BIN)/python scripts/build_site.py $(CURDIR)/.build/docs

clean: lab-down  ## the lab, the placed collection and the virtual environment
	rm -rf .build .venv
