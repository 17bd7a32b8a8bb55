#!/bin/sh
# `npm run bench` and `npm run bench:guard`: sets the checkout up, then runs bench/$1.ts on the Node of the node modules.
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
cd -- "$root" || exit 69
root=.

SALLYPORT_NPM_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS-} # for npm alone, see tools/run.sh
export SALLYPORT_NPM_EXTRA_CA_CERTS
. ./packages/runtime/bin/node-environment.sh
unset NODE_ENV

. ./tools/find-node.sh
"$node" tools/bootstrap.mjs cli </dev/null >&2 || exit
. ./tools/find-node.sh
program=$1
shift
exec "$node" --conditions=sallyport-source "bench/$program.ts" "$@"
