#!/bin/sh
# The door to every npm script: sets the checkout up, then runs the task on the Node of the node modules.
case $0 in */*) root=${0%/*}/.. ;; *) root=.. ;; esac
cd -- "$root" || exit 69
root=.

# npm may need the machine's own CA to reach its registry; what it fetches is held by the hashes of the lock file. Nothing else gets it.
SALLYPORT_NPM_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS-}
export SALLYPORT_NPM_EXTRA_CA_CERTS
. ./packages/runtime/bin/node-environment.sh
unset NODE_ENV

. ./tools/find-node.sh
"$node" tools/bootstrap.mjs "$@" </dev/null >&2 || exit
unset SALLYPORT_NPM_EXTRA_CA_CERTS
. ./tools/find-node.sh
exec "$node" --conditions=sallyport-source tools/tasks.ts "$@"
