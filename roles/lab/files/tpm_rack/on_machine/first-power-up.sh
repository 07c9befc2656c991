#!/bin/sh
# Once in a machine's life. The serial number comes last: without it this is done again at the next power-up.
set -eu
work=$(mktemp -d /run/first-power-up.XXXXXX)
tar --extract --file=/dev/vdb --directory="$work"
cp --recursive --preserve=mode "$work/files/." /
chown --recursive line:line /home/line/.ssh
usermod --password "$(cat "$work/line-password")" line
systemd-machine-id-setup
hostname "$(cat /etc/hostname)"
sync
cp "$work/serial-number" /etc/serial-number
sync
