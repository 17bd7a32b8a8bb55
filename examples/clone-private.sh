#!/bin/sh
# Clones a private repository; what git writes into .git/config is the placeholder:
#
#   GITHUB_TOKEN=ghp_… sallyport run --secret GITHUB_TOKEN@github.com -- sh examples/clone-private.sh OWNER/NAME
set -eu
git clone "https://x-access-token:$GITHUB_TOKEN@github.com/$1.git"
git -C "${1##*/}" remote get-url origin
