#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/nodes.sh" agent "$@"
