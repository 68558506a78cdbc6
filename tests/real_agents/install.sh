#!/usr/bin/env bash
# Installs the two agents that the tests in this folder run:
#
#     tests/real_agents/install.sh DIR
#     INVOKE_PERSIST_TEST_AGENTS=DIR cargo test --test real_agents -- --ignored
#
# Needs node and npm; takes about 800 MB. Does nothing where the right versions are already there.
set -euo pipefail

# The versions that the tests hold the program to. They stand here alone: the tests read them from this file.
claude_version=2.1.329
codex_version=0.169.0

if [[ $# -ne 1 || -z $1 ]]; then
    echo "usage: ${0##*/} DIR" >&2
    exit 2
fi
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)
modules=$dir/node_modules

# Both are asked, as npm calls an install a success even if it could not fetch a platform's package.
# claude lies in a package of its own for each platform; on Linux there may be a second, which this system cannot run.
installed() {
    local program
    [[ $("$modules/.bin/codex" --version 2>&1) == "codex-cli $codex_version" ]] || return 1
    for program in "$modules"/@anthropic-ai/claude-code-*/claude; do
        [[ $("$program" --version 2>&1) != "$claude_version "* ]] || return 0
    done
    return 1
}

if installed; then
    echo "claude $claude_version and codex $codex_version are in $dir"
    exit 0
fi
for try in 1 2 3; do
    if ((try > 1)); then
        echo "try $try of 3" >&2
        sleep $((try * try))
    fi
    # What is half there counts as there for npm.
    rm -rf -- "$modules"/@anthropic-ai "$modules"/@openai "$modules"/.package-lock.json "$dir"/package-lock.json
    # Neither package needs its install script, and a package's script should not run on the word of a test.
    npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error \
        "@anthropic-ai/claude-code@$claude_version" "@openai/codex@$codex_version" || continue
    if installed; then
        echo "installed claude $claude_version and codex $codex_version in $dir"
        exit 0
    fi
    echo "npm is content, but not both programs answer with their version" >&2
done
echo "could not install claude $claude_version and codex $codex_version in $dir" >&2
exit 1
