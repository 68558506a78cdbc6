//! What callers type who know other programs, and what they mean here. `correction` applies these tables.
//!
//! A row is `TYPED => MEANS # ADVICE`. Without `MEANS` there is only advice; without `ADVICE` it is to use `MEANS`. A row
//! is tried only if its replacement exists on the command, and shown only if the corrected line can be parsed. Of several
//! rows for one word, the first that leads to such a line counts. Lines that begin with `//` are comments.
//!
//! The tables are text, because an array of references is three times as large in the program.

/// A row of a table.
pub(super) struct Synonym {
    pub(super) typed: &'static str,
    /// The words to put there, if there are any. A word without dashes replaces the command.
    pub(super) means: Option<&'static str>,
    pub(super) advice: &'static str,
}

/// Returns the rows of a table.
pub(super) fn rows(table: &'static str) -> impl Iterator<Item = Synonym> {
    table.lines().filter(|line| !line.starts_with("//")).map(|line| {
        let (words, advice) = line.split_once('#').unwrap_or((line, ""));
        let (typed, means) = words.split_once("=>").map_or((words, None), |(typed, means)| (typed, Some(means.trim())));
        Synonym { typed: typed.trim(), means, advice: advice.trim() }
    })
}

/// A value with white space.
pub(super) const TEXT: &str = "TEXT";
/// A value with an equals sign.
pub(super) const SETTING: &str = "KEY=VALUE";
/// A value that looks like a UUID.
pub(super) const ID: &str = "ID";

/// One or two words that are not a command.
pub(super) const COMMANDS: &str = "\
version => --version
topics => help
usage => help
history => list-turns
turns => list-turns
jobs => list-turns
ps => list-turns
ls => list-sessions
list => list-sessions
new => create-session
create => create-session
start => create-session
init => create-session
add => create-session
adopt => create-session --adopt=ID # save an existing session with create-session --adopt
import => create-session --adopt=ID # save an existing session with create-session --adopt
rm => delete-session
del => delete-session
delete => delete-session
remove => delete-session
clear => delete-all-sessions
reset => delete-all-sessions
purge => delete-all-sessions
delete-all => delete-all-sessions
mv => rename-session
move => rename-session
rename => rename-session
set => set-session
config => set-session
configure => set-session
settings => resolve
cp => fork-session
copy => fork-session
clone => fork-session
branch => fork-session
fork => fork-session
turn list => list-turns
turn ls => list-turns
turn show => show-turn
turn status => show-turn
turn logs => show-turn --output
turn wait => wait-turn
exec resume => resume-json
exec => resume-json
resume => resume-json
continue => resume-json
send => resume-json
run => resume-json
prompt => resume-json
chat => open-session
turn => resume-json
query => ask
open => open-session
attach => wait-turn --follow
follow => wait-turn --follow
wait => wait-turn
await => wait-turn
join => wait-turn
log => show-turn --output
logs => show-turn --output
tail => show-turn --output --follow
interactive => open-session
echo => echo-agent
stream => resume-stream
show => resolve
show => show-turn
get => resolve
info => resolve
which => resolve
find => resolve
check => doctor
status => list-turns
status => show-turn
diagnose => doctor
install => skill install
uninstall => skill uninstall
skill add => skill install
skill remove => skill uninstall
skill rm => skill uninstall
skill ls => skill list
skill upgrade => skill update
skill print => skill show
skill cat => skill show
manual => man
// `session list`, `sessions delete`; alone it is a question for all of them
session => # write the verb first
sessions => # write the verb first
session => list-sessions
sessions => list-sessions";

/// `[COMMAND] OPTION [VALUE]`. A VALUE of [`TEXT`], [`SETTING`] or [`ID`] stands for any value of that form, which is kept;
/// any other is replaced with its option.
pub(super) const OPTIONS: &str = "\
list-turns -n => --limit
list-turns --last => --limit
// the session
--name => --session-name
-n => --session-name
--session ID => --session-id
--session => --session-name
--id => --session-id
--thread => --session-id
--resume ID => --session-id
--resume => --session-name
-r ID => --session-id
-r => --session-name
--from => --session-name
--old => --session-name
--new => --to
--new-name => --to
--as => --to
-c KEY=VALUE => --config
--continue => # name the session with --session-name
--last => # name the session with --session-name
-c => # name the session with --session-name
delete-session --all => delete-all-sessions
--all => --all-workspaces
-a => --all-workspaces
--fork => fork-session --to=NEW # start a session from another one's history with fork-session
--fork-session => fork-session --to=NEW # start a session from another one's history with fork-session
--sticky => --remember
--save => --remember
--forget => --forget-settings
--ignore-settings => --forget-settings
// the prompt
--init-prompt => --prompt
--prompt => --init-prompt
--message => --prompt
--message => --init-prompt
--text => --prompt
--text => --init-prompt
--input => --prompt
--query => --prompt
-m TEXT => --prompt
-m TEXT => --init-prompt
-m => --model
-p => --prompt
-p => --init-prompt
--print => --print-result # the prompt follows --prompt; --print-result prints the text of the answer
--file => --prompt-file
-f => --prompt-file
create-session --prompt-file => resume-json --if-missing=create --prompt-file
--append-system-prompt => --role-definition-md
// the output
resume-json --format text => --print-result # use --print-result, or resume-stream --format text for the whole turn
resume-json --format json => # leave --format out: resume-json prints JSON
resume-json --format jsonl => resume-stream # use resume-stream, which prints a line for each event
fork-session --format text => --print-result
fork-session --format json => # leave --format out: fork-session prints JSON
resume-json --json => # leave --json out: resume-json prints JSON
fork-session --json => # leave --json out: fork-session prints JSON
resolve --json => # leave --json out: resolve prints JSON
resolve --format json => # leave --format out: resolve prints JSON
create-session --json => --print-mapping-json
create-session --format json => --print-mapping-json
rename-session --json => # leave --json out: rename-session prints JSON
delete-session --json => # leave --json out: delete-session prints JSON
delete-all-sessions --json => # leave --json out: delete-all-sessions prints JSON
list-sessions --json => --format=json
resume-stream --json => --format=jsonl
doctor --format json => --json
skill --format json => --json
resume-json --output-format stream-json => resume-stream
resume-json --output-format json => # leave --output-format out: resume-json prints JSON
resume-stream --output-format json => resume-json
resume-stream --output-format text => --format=text
--output-format text => --print-result
--output-format stream-json => --format=jsonl
--output-format => --format
--stream => resume-stream
--table => --format=table
--names => --format=names
--result => --print-result
--print-text => --print-result
--plain => --print-result
--print-id => --print-session-id
--output => --output-file
-o => --output-file
--output-last-message => --output-file
--include-partial-messages => --include-partials
--no-color => --color=never
-q => --quiet
--silent => --quiet
-v => --version
-v # set INVOKE_PERSIST_LOG=- to log to standard error
--verbose # set INVOKE_PERSIST_LOG=- to log to standard error
--debug # set INVOKE_PERSIST_LOG=- to log to standard error
show-turn -f => --follow
wait-turn -f => --follow
show-turn --logs => --output
show-turn --json => # leave --json out: show-turn prints JSON
wait-turn --json => # leave --json out: wait-turn prints what the turn printed
list-turns --json => --format=json
list-turns --status => --state
list-turns --max => --limit
// the turn
--turn => --turn-id
--job => --turn-id
--job-id => --turn-id
--mapping-file => # leave --mapping-file out: turns are found by their workspace
// what to do if
create-session --force => --if-exists=overwrite
--overwrite => --if-exists=overwrite
--overwrite => --force
--reuse => --if-exists=reuse
--exist-ok => --if-exists=reuse
--create => --if-missing=create
--create-if-missing => --if-missing=create
--wait => --if-busy=wait
--no-wait => --if-busy=fail
delete-session --force => # leave --force out: no command asks for confirmation
delete-all-sessions --force => # leave --force out: no command asks for confirmation
--yes => # leave --yes out: no command asks for confirmation
-y => # leave -y out: no command asks for confirmation
// how the agent runs
wait-turn --timeout => --timeout-seconds
wait-turn --deadline-seconds => --timeout-seconds
wait-turn -t => --timeout-seconds
--timeout => --deadline-seconds
--timeout-seconds => --deadline-seconds
--max-time => --deadline-seconds
-t => --deadline-seconds
--idle-timeout => --stall-seconds
--stall-timeout => --stall-seconds
--cwd => --workspace-dir
--dir => --workspace-dir
--directory => --workspace-dir
--workdir => --workspace-dir
--workspace => --workspace-dir
--cd => --workspace-dir
-C => --workspace-dir
-d => --workspace-dir
--agent => --backend
--provider => --backend
--tool => --backend
--reasoning => --reasoning-effort
--thinking => --reasoning-effort
-e KEY=VALUE # set the variable before the command, or write it to a file for --env-file
-e => --env-file
--images => --image
-i => --image
--output-schema => --schema
--json-schema # write the schema to a file for --schema
--yolo => --dangerously-bypass-approvals-and-sandbox";

/// A value that an option does not have, and the one that was meant.
pub(super) const VALUES: &str = "\
--format text => table
--format plain => table
--format plain => text
--format name => names
--format jsonl => json
--state done => succeeded
--state success => succeeded
--state error => failed
--state active => running
--state waiting => queued
--state pending => queued
--state cancelled => stopped
--state interrupted => stopped
--format json => jsonl
--format stream-json => jsonl
--format markdown => text
--if-exists replace => overwrite
--if-exists force => overwrite
--if-exists keep => reuse
--if-exists skip => reuse
--if-exists error => fail
--if-missing new => create
--if-missing start => create
--if-missing error => fail
--if-busy queue => wait
--if-busy error => fail
--fail-on refused => denied
--fail-on permission => denied
--fail-on permission_denied => denied
--fail-on empty_answer => empty
--color yes => always
--color on => always
--color true => always
--color no => never
--color off => never
--color false => never
--scope global => user
--scope local => project
--scope repo => project
--error-format jsonl => json";

/// Commands without names to which a name was given.
pub(super) const NAMELESS: &str = "\
list-sessions => resolve --session-name
delete-all-sessions => delete-session --session-name";
