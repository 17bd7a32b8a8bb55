#!/bin/sh
# Asks GitHub who the token belongs to, without ever holding the token:
#
#   GITHUB_TOKEN=ghp_… sallyport run --secret GITHUB_TOKEN@api.github.com -- sh examples/github-user.sh
set -eu
echo "The sandbox holds: $GITHUB_TOKEN"
curl --silent --show-error --fail-with-body --header "Authorization: Bearer $GITHUB_TOKEN" https://api.github.com/user
