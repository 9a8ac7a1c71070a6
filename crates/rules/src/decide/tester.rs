//! The text of a tester's word: which version, of which services, until when, for whom.

use crate::vocab::Name;

/// A word that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tester<'a> {
    pub version: &'a str,
    services: &'a str,
    /// Seconds since 1970.
    pub expires: i64,
    pub holder: &'a str,
}

impl<'a> Tester<'a> {
    /// What texts of this form begin with.
    pub const FORM: &'static str = "1";
    /// Stands for every service.
    pub const ALL_SERVICES: &'static str = "*";

    pub fn read(text: &'a str) -> Option<Tester<'a>> {
        let mut parts = text.splitn(5, ' ');
        let (form, version, services) = (parts.next()?, parts.next()?, parts.next()?);
        let (expires, holder) = (parts.next()?.parse().ok()?, parts.next()?);
        (form == Tester::FORM && Name::is_name(version)).then_some(Tester {
            version,
            services,
            expires,
            holder,
        })
    }

    /// Whether the word is for this service.
    pub fn covers(&self, service: &Name) -> bool {
        self.services == Tester::ALL_SERVICES || self.services.split(',').any(|name| name == service.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_word_is_for_the_services_it_names() {
        let text = "1 gray patient,portal 1000 li";
        let tester = Tester::read(text).unwrap();
        assert!(tester.covers(&name_of("patient")) && tester.covers(&name_of("portal")));
        assert!(!tester.covers(&name_of("pat")) && !tester.covers(&name_of("patient-portal")));
        assert!(Tester::read("1 gray * 1000 li").unwrap().covers(&name_of("any")));
        for broken in ["2 gray * 1000 li", "1 gr/ay * 1000 li", "1 gray * x li", "1 gray * 1000", ""] {
            assert_eq!(Tester::read(broken), None, "{broken}");
        }
    }
}
