use super::*;
use graygate_rules::documents::{DocumentId, Format};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(set: &DocumentSet) -> Vec<String> {
    set.documents.keys().map(ToString::to_string).collect()
}

fn id(text: &str) -> DocumentId {
    DocumentId::parse(text).unwrap()
}

#[test]
fn a_directory_is_read_completely() {
    let root = tempfile::tempdir().unwrap();
    for path in [
        "routes/portal.yaml",
        "rules/a.json",
        "lists/pilot.txt",
        "lists/pilot/p1.txt",
        "instances/patient/p.yml",
        ".hidden",
        "rules/.x.yaml.swp",
        ".git/rules/x.yaml",
        "readme.md",
        "rule/x.yaml",
    ] {
        write(root.path(), path, "text");
    }
    let set = load(root.path()).unwrap();
    assert_eq!(set.revision, 1);
    assert_eq!(
        names(&set),
        ["routes/portal", "rules/a", "lists/pilot", "lists/pilot/p1", "instances/patient/p"]
    );
    assert_eq!(set.documents.get(&id("rules/a")).unwrap().format, Format::Json);
    let strays: Vec<_> = set.strays.iter().map(|p| p.document()).collect();
    assert_eq!(strays, ["readme.md", "rule/x.yaml"]);
    assert!(set.ambiguous.is_empty());
}

#[test]
fn two_file_names_of_one_document_hold_it_back() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "rules/x.yaml", "a");
    write(root.path(), "rules/x.json", "{}");
    write(root.path(), "rules/y.yaml", "a");
    let set = load(root.path()).unwrap();
    assert_eq!(names(&set), ["rules/y"]);
    let problem = &set.ambiguous[&id("rules/x")];
    assert_eq!(
        problem.to_string(),
        "rules/x: one document under 2 file names: `rules/x.json`, `rules/x.yaml`; keep one of them"
    );
}

#[test]
fn what_cannot_be_read_is_held_back_or_a_stray() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "rules/good.yaml", "a");
    symlink("nowhere", root.path().join("rules/link.yaml")).unwrap();
    symlink("..", root.path().join("rules/loop")).unwrap();
    let big = fs::File::create(root.path().join("rules/big.yaml")).unwrap();
    big.set_len((16 << 20) + 1).unwrap();
    let socket = root.path().join("rules/socket.yaml");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let set = load(root.path()).unwrap();
    assert_eq!(names(&set), ["rules/good"]);
    let held: Vec<_> = set.ambiguous.values().map(ToString::to_string).collect();
    assert_eq!(
        held,
        [
            "rules/big: `rules/big.yaml` cannot be read: larger than 16 MiB",
            "rules/link: `rules/link.yaml` cannot be read: no such file or directory",
        ]
    );
    let strays: Vec<_> = set.strays.iter().map(|p| p.document()).collect();
    assert_eq!(strays, ["rules/loop", "rules/socket.yaml"]);
}

#[test]
fn a_folder_that_may_not_be_listed_keeps_its_documents() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "rules/x.yaml", "a");
    let mut scanner = Scanner::new(root.path().to_owned());
    let before = scanner.scan(SystemTime::now()).unwrap();
    let rules = root.path().join("rules");
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may list everything; then there is nothing to hold back.
    let after = scanner.scan(SystemTime::now()).unwrap();
    let refused = fs::read_dir(&rules).is_err();
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(before.set.documents, after.set.documents);
    assert_eq!(after.set.strays.len(), usize::from(refused));
}

#[test]
fn unchanged_files_keep_their_body_and_racy_ones_are_read_again() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "rules/x.yaml", "one");
    let mut scanner = Scanner::new(root.path().to_owned());
    let x = id("rules/x");
    let mut body = |later: u64| {
        let now = SystemTime::now() + Duration::from_secs(later);
        scanner.scan(now).unwrap().set.documents.get(&x).unwrap().clone()
    };
    let first = body(0);
    assert!(Arc::ptr_eq(&first, &body(0)), "equal bytes keep the body");
    assert!(Arc::ptr_eq(&first, &body(60)), "a settled file is not read");
    assert!(Arc::ptr_eq(&first, &body(60)));
    // Same length, same name, perhaps the same clock tick: the change time tells, or the file was never settled.
    write(root.path(), "rules/x.yaml", "two");
    assert_eq!(&*body(0).body, b"two");
    write(root.path(), "rules/x.yaml", "six");
    assert_eq!(&*body(0).body, b"six");
}

#[test]
fn a_missing_directory_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let error = load(&root.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn a_change_is_believed_once_two_walks_agree() {
    let root = tempfile::tempdir().unwrap();
    let (updates, seen) = tokio::sync::watch::channel(None);
    let status = Arc::new(SourceStatus::new(crate::SourceKind::Directory, Instant::now()));
    let mut follower = DirectoryFollower { updates, status, published: None, candidate: None, told: false };
    let mut scanner = Scanner::new(root.path().to_owned());
    let list = id("lists/pilot");
    let mut walk = |text: &str| {
        write(root.path(), "lists/pilot.txt", text);
        let scan = scanner.scan(SystemTime::now()).unwrap();
        let again = follower.consider(scan, Instant::now());
        let set = seen.borrow().as_ref().unwrap().set.clone();
        (again, set.revision, String::from_utf8(set.documents.get(&list).unwrap().body.to_vec()).unwrap())
    };
    let told = |again, revision, text: &str| (again, revision, text.to_owned());
    assert_eq!(walk("a\n"), told(true, 1, "a\n"), "the first set has nothing to lose");
    assert_eq!(walk("a\n"), told(false, 1, "a\n"));
    // A writer at work: every walk sees a little more.
    assert_eq!(walk(""), told(true, 1, "a\n"));
    assert_eq!(walk("b\n"), told(true, 1, "a\n"));
    assert_eq!(walk("b\nc\n"), told(true, 1, "a\n"));
    assert_eq!(walk("b\nc\n"), told(false, 2, "b\nc\n"));
    // There and back again is no change.
    assert_eq!(walk("torn"), told(true, 2, "b\nc\n"));
    assert_eq!(walk("b\nc\n"), told(false, 2, "b\nc\n"));
    // A directory that never rests is believed in the end.
    let walks = (0..).position(|n| walk(&format!("{n}\n")).1 == 3);
    assert_eq!(walks, Some(RESTLESS as usize));
}
