#!/bin/bash
# <node>/packages/absent/NAME  and  <node>/packages/present/NAME: what is to be installed, and what is not.
#
# The commands are parameters; without them the package manager of the system is used. A command gets the names of the
# packages as its last words, the check one name, which it answers with its exit code.
#
#     <node>/packages/commands/present    such as `apt-get --yes install`
#     <node>/packages/commands/absent     such as `apt-get --yes remove`
#     <node>/packages/commands/check      such as `rpm --query`
#
# A noop has no network. What a package manager has in its cache, or finds on the disk, is installed for real in the
# sandbox, and the noop shows every file of it; what it would have to download is told and left out.
set -euo pipefail

own() {
    local key=$DISCO_NODE/packages/$1
    [[ ! -e /var/disco/parameters/$key ]] || disco-param get "$key"
}

is_installed_by_dpkg() { [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

export DEBIAN_FRONTEND=noninteractive
if command -v apt-get >/dev/null; then
    present='apt-get --yes --quiet=2 install' absent='apt-get --yes --quiet=2 remove' check=is_installed_by_dpkg
    # Fails at once where there is no network; what lies in the cache or on the disk needs none.
    offline='-o Acquire::Retries=0'
elif command -v dnf >/dev/null; then
    present='dnf --assumeyes --quiet install' absent='dnf --assumeyes --quiet remove' check='rpm --quiet --query'
    offline=--cacheonly
elif command -v zypper >/dev/null; then
    present='zypper --non-interactive --quiet install' absent='zypper --non-interactive --quiet remove'
    check='rpm --quiet --query' offline=--no-refresh
else
    present= absent= check= offline=
fi
own_present=$(own commands/present) own_absent=$(own commands/absent) own_check=$(own commands/check)
[[ -z $own_present ]] || offline=
present=${own_present:-$present} absent=${own_absent:-$absent} check=${own_check:-$check}

# The names below a state that are not in it yet.
differing() {
    local state=$1 name
    [[ -d /var/disco/parameters/$DISCO_NODE/packages/$state ]] || return 0
    for name in $(disco-param keys "$DISCO_NODE/packages/$state"); do
        if $check "$name" >/dev/null 2>&1; then
            [[ $state == present ]] || echo "$name"
        else
            [[ $state == absent ]] || echo "$name"
        fi
    done
}

# The commands are words, split at blanks as they stand.
remove=$(differing absent)
[[ -z $remove ]] || $absent $remove </dev/null

install=$(differing present)
if [[ -n $install ]]; then
    if [[ -z ${NOOP:-} ]]; then
        $present $install </dev/null
    elif ! $present $offline $install </dev/null; then
        echo "warning: Would execute :" $present $install
    fi
fi
