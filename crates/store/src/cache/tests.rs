use super::*;
use proptest::prelude::*;
use tempfile::TempDir;

fn good(revision: Revision, bodies: &[(&str, &str)]) -> Good {
    let documents = bodies.iter().map(|(name, body)| {
        let id = DocumentId::parse(name).unwrap();
        let format = match id.kind {
            graygate_rules::documents::Kind::List => Format::List,
            _ if body.starts_with('{') => Format::Json,
            _ => Format::Yaml,
        };
        let body = (*body).into();
        (id, Arc::new(Raw { body, format }))
    });
    Good { revision, documents: documents.collect() }
}

fn sample() -> Good {
    good(
        812,
        &[
            ("rules/a", "services: [x]\n"),
            ("rules/b", "{}"),
            ("lists/pilot/p1", "用户\r\n\n"),
            ("routes/empty", ""),
        ],
    )
}

fn stored(good: &Good) -> (TempDir, Cache) {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path().join("deep/cache"), "etcd /graygate");
    cache.store(good).unwrap();
    (root, cache)
}

fn files(cache: &Cache) -> Vec<String> {
    let entries = fs::read_dir(&cache.directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_stored_is_loaded() {
    let (_root, cache) = stored(&sample());
    let set = cache.load().unwrap().unwrap();
    assert_eq!((set.revision, &set.documents), (812, &sample().documents));
    assert!(set.strays.is_empty() && set.ambiguous.is_empty());
    fs::write(cache.directory.join(".documents.cache.4711"), "half").unwrap();
    assert!(cache.load().unwrap().is_some());
    let next = good(813, &[]);
    cache.store(&next).unwrap();
    assert_eq!(cache.load().unwrap().unwrap().revision, 813);
    assert_eq!(files(&cache), ["documents.cache"], "nothing is left beside it");
}

#[test]
fn no_cache_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path().join("none"), "x");
    assert!(cache.load().unwrap().is_none());
    cache.check().unwrap();
    assert_eq!(files(&cache), [] as [&str; 0]);
}

#[test]
fn a_place_that_takes_no_files_is_told() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let cache = Cache::new(&file, "x");
    assert!(cache.check().is_err());
    assert!(cache.store(&sample()).is_err());
}

#[test]
fn a_file_torn_anywhere_is_put_aside() {
    let (_root, cache) = stored(&sample());
    let whole = fs::read(cache.path()).unwrap();
    for length in 0..whole.len() {
        fs::write(cache.path(), &whole[..length]).unwrap();
        assert!(cache.load().unwrap().is_none(), "believed when cut after {length} bytes");
        assert!(!cache.path().exists(), "left in place when cut after {length} bytes");
    }
    let aside: Vec<_> = (1..=5).map(|n| format!("documents.cache.corrupt-{n}")).collect();
    assert_eq!(files(&cache), aside, "only so many are kept");
}

#[test]
fn a_single_wrong_byte_is_noticed_wherever_it_is() {
    let (_root, cache) = stored(&sample());
    let whole = fs::read(cache.path()).unwrap();
    for place in 0..whole.len() {
        let mut wrong = whole.clone();
        wrong[place] ^= 0x01;
        fs::write(cache.path(), &wrong).unwrap();
        match cache.load() {
            Ok(found) => {
                assert!(found.is_none(), "believed with a wrong byte at {place}");
                assert!(!cache.path().exists(), "left in place with a wrong byte at {place}");
            }
            // The version's digit is the one byte that can turn one good head into another.
            Err(CacheError::Format { .. }) => assert_eq!(place, MAGIC.len() + 1),
            Err(error) => panic!("{error}"),
        }
    }
    fs::write(cache.path(), [whole.as_slice(), b"more"].concat()).unwrap();
    assert!(cache.load().unwrap().is_none(), "believed with more behind its end");
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let (_root, cache) = stored(&sample());
    fs::write(cache.path(), "graygate-cache 2\nwhatever follows").unwrap();
    let error = cache.load().unwrap_err().to_string();
    assert!(error.contains("format 2") && error.contains("format 1"), "{error}");
    assert!(cache.path().exists());
    cache.store(&sample()).unwrap();
    assert!(cache.load().unwrap().is_some(), "the next good state takes its place");
}

#[test]
fn a_cache_of_something_else_is_not_used() {
    let (_root, cache) = stored(&sample());
    let other = Cache::new(&cache.directory, "etcd /elsewhere");
    assert!(other.load().unwrap().is_none());
    assert!(cache.load().unwrap().is_some(), "it was left alone");
}

#[tokio::test]
async fn the_newest_good_state_is_kept_even_at_the_end() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path(), "x");
    let (sender, receiver) = watch::channel(None);
    let (stop, shutdown) = watch::channel(false);
    let keeping = tokio::spawn(keep(cache.clone(), receiver, shutdown));
    sender.send_replace(Some(good(1, &[("rules/a", "1")])));
    sender.send_replace(Some(good(2, &[("rules/a", "2")])));
    stop.send_replace(true);
    keeping.await.unwrap();
    assert_eq!(cache.load().unwrap().unwrap().revision, 2);
}

proptest! {
    #[test]
    fn no_file_is_believed_that_was_not_stored(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path(), "x");
        fs::write(cache.path(), [b"graygate-cache 1\n", bytes.as_slice()].concat()).unwrap();
        prop_assert!(cache.load().unwrap().is_none());
    }
}
