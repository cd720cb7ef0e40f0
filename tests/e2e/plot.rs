//! `plot`: a real picture of what a real service used.

use std::path::Path;
use std::process::Command;

use crate::support::{Project, python, text, wait_for};

/// Reads the picture with Python's own XML parser: the root's tag, its width, the words of its titles.
const SVG: &str = "import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
titles = [title.text or '' for title in root.iter('{http://www.w3.org/2000/svg}title')]
print(root.tag, root.get('width'), root.get('height'), '|'.join(titles))";

/// Reads width and height of a PNG, and whether more than one colour is in it.
const PNG: &str = "import struct, sys, zlib
data = open(sys.argv[1], 'rb').read()
assert data[:8] == b'\\x89PNG\\r\\n\\x1a\\n'
at, pixels = 8, b''
while at < len(data):
    length, kind = struct.unpack('>I4s', data[at:at + 8])
    body = data[at + 8:at + 8 + length]
    assert zlib.crc32(kind + body) == struct.unpack('>I', data[at + 8 + length:at + 12 + length])[0]
    if kind == b'IHDR': print(*struct.unpack('>II', body[:8]))
    if kind == b'IDAT': pixels += body
    at += 12 + length
print(len(set(zlib.decompress(pixels))) > 50)";

const FILE: &str = "
name: drawn
services:
  web:
    command: [\"sh\", \"-c\", \"sleep 1; exit 3\"]
    restart: {policy: always, delay: 100ms, max_delay: 100ms}
";

fn reads(script: &str, file: &Path) -> String {
    let output = Command::new(python()).args(["-c", script]).arg(file).output().expect("Python starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_picture_shows_what_was_recorded_also_when_nobody_runs() {
    let mut project = Project::up(FILE);
    let svg = project.path("usage.svg");
    let mut read = String::new();
    // Readings are there after some seconds, an end after one more.
    wait_for("a picture with an end in it", || {
        let drawn = project.everup(&["plot", "web", "-o", "usage.svg"]).status.success();
        read = if drawn { reads(SVG, &svg) } else { String::new() };
        read.contains("end: exit 3")
    });
    assert!(read.starts_with("{http://www.w3.org/2000/svg}svg 900 "), "{read}");
    assert!(read.contains(" web|") && read.contains(" start|"), "{read}");
    let drawn = project.read("usage.svg");
    assert!(!drawn.contains("<text") && !drawn.contains("font"), "letters are outlines");
    let said = project.everup(&["plot", "web", "-o", "usage.png", "--metric", "memory"]);
    assert!(text(&said.stderr).contains("wrote usage.png: web, "), "{said:?}");
    assert_eq!(reads(PNG, &project.path("usage.png")), "1800 530\nTrue\n");
    project.ok(&["down"]);
    project.wait_end();
    let offline = project.everup(&["plot", "web", "-o", "-"]);
    assert!(offline.status.success() && offline.stdout.starts_with(b"<svg "), "{offline:?}");
    assert!(text(&offline.stderr).contains("no supervisor runs"), "{offline:?}");
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let project = Project::up(FILE);
    for (args, code, words) in [
        (vec!["plot", "web", "-o", "usage.pdf"], 2, ".svg or .png"),
        (vec!["plot", "web", "--since", "1m", "--until", "1h"], 2, "ends before it begins"),
        (vec!["plot", "web", "--metric", "disk"], 2, "[possible values: cpu, memory, probe]"),
        (vec!["plot", "wbe"], 4, "did you mean web?"),
        (vec!["plot", "web", "--since", "48h", "--until", "24h"], 1, "nothing of it was recorded"),
    ] {
        let said = project.everup(&args);
        assert_eq!(said.status.code(), Some(code), "{args:?}: {said:?}");
        assert!(text(&said.stderr).contains(words), "{args:?}: {said:?}");
    }
}
