//! Mistakes that the proof has to notice: each is made on purpose in a build that has the feature `mutations`.
//!
//! Without the feature, which no release has, this is a constant and its branches are gone.

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Base leaves out what lanes take that live, not what is theirs.
    FilterByLiveness,
    /// Producers mark before the lane has a group.
    MarkBeforePriming,
    /// Producers mark while receives with the old filter are on their way.
    MarkBeforePolls,
    /// One underscore between group and lane.
    Separator,
    /// Base acknowledges in its own name instead of that of its session in the lane's group.
    AcknowledgeAsBase,
}

#[cfg(feature = "mutations")]
pub fn is(mutation: Mutation) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("GRAYGATE_MUTATION").ok());
    let name = match mutation {
        Mutation::FilterByLiveness => "liveness",
        Mutation::MarkBeforePriming => "priming",
        Mutation::MarkBeforePolls => "polls",
        Mutation::Separator => "separator",
        Mutation::AcknowledgeAsBase => "session",
    };
    CHOSEN.as_deref() == Some(name)
}

#[cfg(not(feature = "mutations"))]
pub const fn is(_: Mutation) -> bool {
    false
}
