#!/bin/bash
# <node>/groups/absent/NAME  and  <node>/groups/present/NAME, whose value is flags of groupadd; see entities.
set -euo pipefail

for state in absent present; do
    tree=$DISCO_NODE/groups/$state
    [[ -d /var/disco/parameters/$tree ]] || continue
    for name in $(disco-param keys "$tree"); do
        flags=$(disco-param get "$tree/$name")
        /usr/local/lib/disco/entity group "$state" "$name" "${flags#'{}'}"
    done
done
