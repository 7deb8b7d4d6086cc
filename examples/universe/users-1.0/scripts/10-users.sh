#!/bin/bash
# <node>/users/absent/NAME  and  <node>/users/present/NAME, whose value is flags of useradd; see entities.
set -euo pipefail

for state in absent present; do
    tree=$DISCO_NODE/users/$state
    [[ -d /var/disco/parameters/$tree ]] || continue
    for name in $(disco-param keys "$tree"); do
        flags=$(disco-param get "$tree/$name")
        /usr/local/lib/disco/entity user "$state" "$name" "${flags#'{}'}"
    done
done
