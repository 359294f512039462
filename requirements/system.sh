#!/bin/sh
# What pip cannot bring: Python's venv module, and the servers and compilers that the tests use.
#   sh requirements/system.sh python|tests
# Installs what is missing where it may (root, apt-get); elsewhere it says what is missing, exit 1.
# It starts no service: the tests start their own servers on ports of their own.
set -eu

missing=""

# need PACKAGE TEST…: the package is missing when the test fails
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

case "${1:-}" in
python)
    need python3 "${PYTHON:-python3}" --version
    need python3-venv "${PYTHON:-python3}" -c 'import ensurepip, venv'
    ;;
tests)
    need mosquitto command -v mosquitto
    need mosquitto-clients command -v mosquitto_sub
    need victoria-metrics command -v victoria-metrics
    need influxdb command -v influxd
    need gcc command -v gcc
    need libc6-dev test -e /usr/include/stdio.h
    need libmodbus-dev test -e /usr/include/modbus/modbus.h
    need pkg-config command -v pkg-config
    need socat command -v socat
    need strace command -v strace
    need systemd command -v systemd-analyze
    need nodejs command -v node
    need npm command -v npm
    ;;
*)
    echo "usage: sh requirements/system.sh python|tests" >&2
    exit 2
    ;;
esac

policy=/usr/sbin/policy-rc.d

install() {
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install --yes --quiet=2 --no-install-recommends $missing
}

# A package that brings a service would start it and have it started at every boot.
leave_services_off() {
    [ -d /run/systemd/system ] || return 0
    for package in $missing; do
        case $package in mosquitto | victoria-metrics | influxdb) systemctl disable --quiet --now "$package" || true ;; esac
    done
}

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing$missing"
        if [ ! -e $policy ]; then
            trap 'rm -f $policy' EXIT
            printf '#!/bin/sh\nexit 101\n' >$policy
            chmod 755 $policy
        fi
        install >/dev/null 2>&1 || { apt-get update --quiet=2 && install; }
        leave_services_off
    else
        echo "missing:$missing" >&2
        echo "install with: sudo apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
fi

if [ "$1" = python ] && ! "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed; $("${PYTHON:-python3}" --version) was found (choose one with make PYTHON=…)" >&2
    exit 1
fi
