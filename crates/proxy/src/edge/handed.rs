//! What is known of a request before the framework gets it.
//!
//! Answers: what has the short path found out already? Goes with the request's head, as the one thing that the hooks get
//! to see of it. Never: knows what it is.

use std::any::Any;
use std::sync::Arc;

use http::Extensions;
use parking_lot::Mutex;

/// What the short path found out about a request before it handed it over; the request's hooks know its type.
pub type Handed = Box<dyn Any + Send + Sync>;

/// An extension of the request's head. Heads are copied, what is known is told once.
#[derive(Clone)]
struct Known(Arc<Mutex<Option<Handed>>>);

/// Lets the hooks have what is known of a request.
pub fn hand(request: &mut Extensions, known: Handed) {
    request.insert(Known(Arc::new(Mutex::new(Some(known)))));
}

/// What is known of a request; once.
pub fn take(request: &Extensions) -> Option<Handed> {
    request.get::<Known>()?.0.lock().take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_request_is_told_once() {
        let mut request = Extensions::new();
        assert!(take(&request).is_none());
        hand(&mut request, Box::new(7));
        assert_eq!(take(&request.clone()).unwrap().downcast_ref(), Some(&7));
        assert!(take(&request).is_none());
    }
}
