#!/usr/bin/env bash
# Installs the two agents that the tests in this directory run:
#
#     tests/real_agents/install.sh DIR
#     INVOKE_PERSIST_TEST_AGENTS=DIR cargo test --test real_agents -- --ignored
#
# Other versions, or the newest ones, come from two variables. The tests need the same variables:
#
#     export INVOKE_PERSIST_CLAUDE_VERSION=latest INVOKE_PERSIST_CODEX_VERSION=0.105.0
#
# Needs node, npm and about 800 MB. Does nothing if these versions are already installed.
set -euo pipefail

# The versions that the tests require by default. The tests read them from this file.
claude_version=2.1.330
codex_version=0.169.0

if [[ $# -ne 1 || -z $1 ]]; then
    echo "usage: ${0##*/} DIR" >&2
    exit 2
fi
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)
modules=$dir/node_modules

# Prints the newest version of a package.
newest() {
    for try in 1 2 3; do
        ((try == 1)) || sleep $((try * try))
        npm view --loglevel=error "$1" version && return
    done
    echo "cannot find the newest version of $1" >&2
    return 1
}

claude_version=${INVOKE_PERSIST_CLAUDE_VERSION:-$claude_version}
codex_version=${INVOKE_PERSIST_CODEX_VERSION:-$codex_version}
[[ $claude_version != latest ]] || claude_version=$(newest @anthropic-ai/claude-code)
[[ $codex_version != latest ]] || codex_version=$(newest @openai/codex)

# Runs both programs, because npm succeeds even if it cannot download the package of a platform. claude has a separate
# package for each platform. On Linux there may be a second one, which this system cannot run. Older releases of claude
# are a script for node.
installed() {
    local program
    [[ $("$modules/.bin/codex" --version 2>&1) == "codex-cli $codex_version" ]] || return 1
    for program in "$modules"/@anthropic-ai/claude-code-*/claude "$modules"/@anthropic-ai/claude-code/cli.js; do
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
        echo "attempt $try of 3" >&2
        sleep $((try * try))
    fi
    # npm does not repair an incomplete installation. It makes a program executable only if it creates the link to it.
    rm -rf -- "$modules"/@anthropic-ai "$modules"/@openai "$modules"/.bin/claude "$modules"/.bin/codex \
        "$modules"/.package-lock.json "$dir"/package-lock.json
    # Neither package needs its install script, and a test should not run scripts of packages.
    npm install --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error \
        "@anthropic-ai/claude-code@$claude_version" "@openai/codex@$codex_version" || continue
    if installed; then
        echo "installed claude $claude_version and codex $codex_version in $dir"
        exit 0
    fi
    echo "npm succeeded, but a program does not print the expected version" >&2
done
echo "cannot install claude $claude_version and codex $codex_version in $dir" >&2
exit 1
