//! Where documents come from, as operators write it in a process file or a control plane's file.

use std::path::PathBuf;

use crate::directory::DirectorySettings;
use crate::etcd::{DEFAULT_PREFIX, EtcdSettings, EtcdTls, Password};
use crate::source::Source;
use graygate_rules::documents::fields::{Emptiness, Field, Map};

/// Reads `{directory: DIR}` or `{etcd: {...}}`; mistakes are noted at their field.
pub fn read_source(field: &Field<'_>) -> Option<Source> {
    let mut map = field.map()?;
    let from = match map.one_of(&["directory", "etcd"]) {
        Some(("directory", f)) => {
            f.text().map(|path| Source::Directory(DirectorySettings { path: PathBuf::from(path) }))
        }
        Some((_, f)) => read_etcd(&f).map(Source::Etcd),
        None => None,
    };
    map.note_unknown();
    from
}

fn read_etcd(field: &Field<'_>) -> Option<EtcdSettings> {
    let mut map = field.map()?;
    let endpoints = map
        .required("endpoints")
        .and_then(|f| f.list_of(Emptiness::Refused, |item| item.text().map(String::from)));
    let prefix = map.or("prefix", DEFAULT_PREFIX.to_string(), |f| f.text().map(String::from));
    let username = map.get("username").and_then(|f| f.text().map(String::from));
    let password = read_password(&mut map);
    let tls = map.get("tls").and_then(|f| read_tls(&f));
    map.note_unknown();
    let settings = EtcdSettings { endpoints: endpoints?, prefix, username, password, tls };
    for (below, message) in settings.mistakes() {
        field.below(&below).wrong::<()>(message, "");
    }
    Some(settings)
}

fn read_password(map: &mut Map<'_>) -> Option<Password> {
    let text = map.get("password").and_then(|f| f.text().map(|text| Password::Text(text.into())));
    let file = map.get("password_file").and_then(|f| f.text().map(|path| Password::File(path.into())));
    match (text, file) {
        (Some(_), Some(_)) => {
            map.wrong("`password` and `password_file` exclude each other", "keep one of them")
        }
        (text, file) => text.or(file),
    }
}

fn read_tls(field: &Field<'_>) -> Option<EtcdTls> {
    let mut map = field.map()?;
    let mut path = |key| map.get(key).and_then(|f| f.text().map(PathBuf::from));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let domain = map.get("server_name").and_then(|f| f.text().map(String::from));
    map.note_unknown();
    Some(EtcdTls { ca, certificate, key, domain })
}
