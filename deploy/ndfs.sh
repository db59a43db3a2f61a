#!/bin/sh
# The Node.js that came with the package, whatever else the machine has.
lib=$(dirname "$(readlink -f "$0")")/../lib/ndfs
exec "$lib/node/bin/node" "$lib/dist/cli/ndfs.js" "$@"
