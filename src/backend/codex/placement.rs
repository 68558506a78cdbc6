//! Where the caller's arguments stand on the command line of `codex exec resume` and `codex exec fork`.

use std::ffi::{OsStr, OsString};

use super::exec_options::{BEFORE_COMMAND, ExecOption, SEVERAL_VALUES};

/// How an option and its value are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// `--option` or `-o`. A value is the next argument.
    Alone,
    /// `--option=value` or `-ovalue`.
    Joined,
}

impl ExecOption {
    /// Returns how `argument` spells this option, if it does.
    fn spelling_in(&self, argument: &OsStr) -> Option<Spelling> {
        let argument = argument.as_encoded_bytes();
        if let Some(rest) = argument.strip_prefix(self.long.as_bytes()) {
            return match rest.first() {
                None => Some(Spelling::Alone),
                Some(b'=') => Some(Spelling::Joined),
                Some(_) => None, // a longer option
            };
        }
        let rest = argument.strip_prefix(self.short?.as_bytes())?;
        Some(if rest.is_empty() { Spelling::Alone } else { Spelling::Joined })
    }
}

/// Splits arguments of `codex exec` into those before and those after the name of its command.
///
/// Their order is kept. An argument that is not known stays after the command.
pub(super) fn split(arguments: &[OsString]) -> (Vec<&OsStr>, Vec<&OsStr>) {
    let find = |options: &'static [ExecOption], argument: &OsStr| {
        options.iter().find_map(|option| Some((option, option.spelling_in(argument)?)))
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter().map(OsString::as_os_str).peekable();
    while let Some(argument) = rest.next() {
        if let Some((option, spelling)) = find(BEFORE_COMMAND, argument) {
            let value = rest.next_if(|next| option.takes_value && spelling == Spelling::Alone && is_value(next));
            if option.takes_value && spelling == Spelling::Alone && value.is_none() {
                after.push(argument); // before the command it would take the command as its value
            } else {
                before.extend([argument].into_iter().chain(value));
            }
            continue;
        }
        after.push(argument);
        if let Some((option, spelling)) = find(SEVERAL_VALUES, argument) {
            after.extend(rest.next_if(|next| spelling == Spelling::Alone && is_value(next)));
            while let Some(value) = rest.next_if(|next| is_value(next)) {
                after.extend([OsStr::new(option.long), value]);
            }
        }
    }
    (before, after)
}

/// Splits arguments into options with their values and other words.
///
/// A word after an option may be its value. Before the command, codex would take any other word as a prompt and ignore it.
pub(super) fn separate_words(arguments: Vec<&OsStr>) -> (Vec<&OsStr>, Vec<&OsStr>) {
    let (mut options, mut words) = (Vec::new(), Vec::new());
    let mut takes_value = false;
    for argument in arguments {
        let is_option = !is_value(argument);
        if is_option || takes_value {
            options.push(argument);
        } else {
            words.push(argument);
        }
        takes_value = is_option && !argument.as_encoded_bytes().contains(&b'=');
    }
    (options, words)
}

/// Returns whether `argument` is an option of [`BEFORE_COMMAND`] whose value is the next argument.
pub(super) fn is_followed_by_value(argument: &str) -> bool {
    let is_alone = |option: &ExecOption| option.spelling_in(argument.as_ref()) == Some(Spelling::Alone);
    BEFORE_COMMAND.iter().any(|option| option.takes_value && is_alone(option))
}

/// Returns whether codex takes `argument` as the value of the option before it.
fn is_value(argument: &OsStr) -> bool {
    argument == "-" || !argument.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(line: &str) -> (String, String) {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let (before, after) = split(&arguments);
        let join = |words: Vec<&OsStr>| words.join(OsStr::new(" ")).into_string().unwrap();
        (join(before), join(after))
    }

    #[test]
    fn options_that_the_commands_lack_are_moved_with_their_values() {
        for line in [
            "--sandbox workspace-write",
            "--sandbox=workspace-write",
            "-s workspace-write",
            "-sworkspace-write",
            "-s=workspace-write",
            "-C -",
            "--cd resume",
            "--oss",
            "--add-dir a -p x --add-dir=b --color never",
        ] {
            assert_eq!(split_words(line), (line.to_owned(), String::new()), "{line}");
        }
    }

    #[test]
    fn other_arguments_stay() {
        for line in [
            "-c sandbox_mode=read-only",
            "--strict-config",
            "--skip-git-repo-check",
            "--sandboxed x",
            "--colors",
            "--unknown",
            "word",
            "--ossify",
            "--image a.png",
        ] {
            assert_eq!(split_words(line), (String::new(), line.to_owned()), "{line}");
        }
    }

    #[test]
    fn order_is_kept_on_both_sides() {
        let (before, after) = split_words("-c a=1 --sandbox x --enable f --oss -c b=2 --sandbox y z");
        assert_eq!((before.as_str(), after.as_str()), ("--sandbox x --oss --sandbox y", "-c a=1 --enable f -c b=2 z"));
    }

    #[test]
    fn word_without_an_option_is_not_moved() {
        let split = |line: &str| {
            let (options, words) = separate_words(line.split(' ').map(OsStr::new).collect());
            [options, words].map(|words| words.join(OsStr::new(" ")).into_string().unwrap())
        };
        assert_eq!(split("a --search b c --x=y d -c - -i e"), ["--search b --x=y -c - -i e", "a c d"]);
        assert_eq!(split("--search --image"), ["--search --image", ""]);
    }

    #[test]
    fn option_without_its_value_stays() {
        assert_eq!(split_words("--sandbox"), (String::new(), "--sandbox".to_owned()));
        assert_eq!(split_words("--profile --color never"), ("--color never".to_owned(), "--profile".to_owned()));
    }

    #[test]
    fn each_value_of_an_option_with_several_gets_the_option() {
        let (before, after) = split_words("-i a b c -c d=1 --image=e f");
        assert_eq!(before, "");
        assert_eq!(after, "-i a --image b --image c -c d=1 --image=e --image f");
    }

    #[test]
    #[cfg(unix)]
    fn value_may_be_any_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let arguments = [OsStr::from_bytes(b"--add-dir=\xff").to_owned(), OsStr::from_bytes(b"\xff").to_owned()];
        let (before, after) = split(&arguments);
        assert_eq!((before, after), (vec![arguments[0].as_os_str()], vec![arguments[1].as_os_str()]));
    }
}
