//! What watching must not cost.

use super::*;

#[test]
fn an_app_that_only_reads_its_files_wakes_nobody() {
    let desk = Desk::new(&["app/a.py", "app/lib/b.py"]);
    // What others do beside the watched folder is heard, so there is nobody.
    desk.watcher.watch(vec![desk.subject(&["app"])]);
    assert!(matches!(desk.next(), News::Watching { folders: 2, files: 2, .. }));
    let before = desk.rest();
    for _ in 0..1_000 {
        assert_eq!(fs::read(desk.path("app/a.py")).unwrap(), b"app/a.py");
        assert_eq!(fs::read_dir(desk.path("app/lib")).unwrap().count(), 1);
    }
    assert_eq!(desk.rest(), before);
    desk.write("app/a.py", "new");
    assert_eq!(desk.changed(), [became("app/a.py", CHANGED)]);
    assert!(desk.rest() > before);
}
