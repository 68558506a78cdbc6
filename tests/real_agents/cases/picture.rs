//! The picture in the README: a turn of claude with `resume-stream --format text` at a terminal of 80 columns.
//!
//! The test draws `.github/turn.svg` if `INVOKE_PERSIST_RECORD` is set. Otherwise it checks that the turn still looks as
//! in the picture.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    model_api::Block,
    shared::{screen::Screen, terminal::Terminal},
    world::World,
};

real_agent_tests! { claude: turn_looks_as_in_the_picture }

const COLUMNS: u16 = 80;
const ROWS: u16 = 60;

/// What a user types, as bash shows it.
const COMMAND: [&str; 2] = [
    "$ invoke-persist resume-stream --session-name review-src \\",
    "    --prompt 'Fix the failing test' --format text -- --allowedTools Bash Edit",
];

/// A program with a mistake, and its test.
const PARSE: &str = "exports.parse = (text) => Number.parseInt(text.split(',')[0]);\n";
const TEST: &str = "const got = require('./parse').parse('1,000');\n\
    if (got === 1000) return console.log('1 test passed');\n\
    console.error(`parse('1,000') is ${got}, expected 1000`);\nprocess.exit(1);\n";

const THOUGHT: &str = "The prompt names no test. Running all of them shows which one fails, and why.";
const ANSWER: &str = "`parse` read only the digits before the first comma, so `1,000` became 1. It now removes \
    the commas first, and the test passes.\n\n- `parse.js`: one line changed\n- `test.js`: unchanged";

fn turn_looks_as_in_the_picture(world: &World) {
    assert_eq!(world.agent, Agent::Claude);
    let work = world.path("work");
    for (name, text) in [("parse.js", PARSE), ("test.js", TEST)] {
        fs::write(work.join(name), text).expect("the workspace can be written");
    }
    world.call("create-session", &["--session-name", "review-src"]).run().success();
    let call = |name: &'static str, input: Value| Block::Call { name, input };
    let text = |text: &str| Block::Text(text.to_owned());
    let parse = work.join("parse.js");
    let checks = || call("Bash", json!({"command": "node test.js", "description": "Run the tests"}));
    let edit =
        json!({"file_path": parse, "old_string": "text.split(',')[0]", "new_string": "text.replaceAll(',', '')"});
    world.api.play([
        vec![Block::Thinking(THOUGHT.to_owned()), text("I'll run the tests first."), checks()],
        vec![call("Read", json!({"file_path": parse}))],
        vec![call("Edit", edit)],
        vec![checks()],
        vec![text(ANSWER)],
    ]);
    let arguments = ["--session-name", "review-src", "--prompt", "Fix the failing test", "--format", "text"];
    let tools = ["--", "--allowedTools", "Bash", "Edit"];
    let command = world.call("resume-stream", &[&arguments[..], &tools].concat()).into_command();
    let shown = Terminal::of_width(COLUMNS).shows(command);
    let mut screen = Screen::new(ROWS, COLUMNS);
    let typed_and_shown = format!("{}\n\n{shown}", COMMAND.join("\n"));
    screen.feed(typed_and_shown.replace('\n', "\r\n").as_bytes());

    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".github/turn.svg");
    let picture = svg(&screen);
    if std::env::var_os("INVOKE_PERSIST_RECORD").is_some() {
        fs::write(file, picture).expect("the checkout can be written");
        return;
    }
    let recorded = fs::read_to_string(file).expect("there is a picture");
    assert_eq!(without_numbers(&picture), without_numbers(&recorded), "the turn:\n{shown}");
}

/// Returns a picture without digits, because the last line has the duration of the turn.
fn without_numbers(picture: &str) -> String {
    picture.replace(|c: char| c.is_ascii_digit(), "")
}

/// Draws the screen as a window with selectable text. It has a background, so it is readable on any page.
fn svg(screen: &Screen) -> String {
    const CELL: (f64, f64) = (8.4, 19.0);
    const MARGIN: f64 = 16.0;
    let lines = screen.lines().len();
    let width = f64::from(COLUMNS) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(u16::try_from(lines).expect("a screen has few lines")) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"A turn of Claude Code at a terminal\">\n\
         <style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
         white-space:pre;fill:#e6edf3}}.b{{font-weight:700}}.d{{fill:#9198a1}}.red{{fill:#ff7b72}}\
         .green{{fill:#56d364}}.yellow{{fill:#e3b341}}.cyan{{fill:#56d4dd}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#0d1117\" stroke=\"#3d444d\"/>\n"
    );
    for row in 0..u16::try_from(lines).expect("a screen has few lines") {
        let runs = runs(screen.screen(), row);
        let columns: usize = runs.iter().map(|(_, text)| text.chars().count()).sum();
        if columns == 0 {
            continue;
        }
        let y = MARGIN + f64::from(row) * CELL.1 + 14.0;
        // a fixed length keeps the columns of any font
        let length = f64::from(u16::try_from(columns).expect("a line is short")) * CELL.0;
        let _ = write!(svg, "<text x=\"{MARGIN}\" y=\"{y}\" textLength=\"{length:.1}\" xml:space=\"preserve\">");
        for (class, text) in runs {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = match class.as_str() {
                "" => write!(svg, "{text}"),
                class => write!(svg, "<tspan class=\"{class}\">{text}</tspan>"),
            };
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns the parts of a line that look alike: the classes of the style sheet, and the text.
fn runs(screen: &vt100::Screen, row: u16) -> Vec<(String, String)> {
    let mut runs: Vec<(String, String)> = Vec::new();
    for cell in (0..COLUMNS).filter_map(|column| screen.cell(row, column)) {
        assert!(!cell.is_wide(), "the picture has one column for each character");
        let color = match cell.fgcolor() {
            vt100::Color::Default => "",
            vt100::Color::Idx(1) => "red",
            vt100::Color::Idx(2) => "green",
            vt100::Color::Idx(3) => "yellow",
            vt100::Color::Idx(6) => "cyan",
            color => panic!("no color for {color:?}"),
        };
        let classes = [(cell.bold(), "b"), (cell.dim(), "d"), (!color.is_empty(), color)];
        let classes: Vec<_> = classes.into_iter().filter_map(|(is_set, class)| is_set.then_some(class)).collect();
        let text = if cell.has_contents() { cell.contents() } else { " " };
        match runs.last_mut() {
            Some((last, run)) if *last == classes.join(" ") || text == " " => run.push_str(text),
            _ => runs.push((classes.join(" "), text.to_owned())),
        }
    }
    if let Some((_, text)) = runs.last_mut() {
        text.truncate(text.trim_end().len());
    }
    runs.retain(|(_, text)| !text.is_empty());
    runs
}
