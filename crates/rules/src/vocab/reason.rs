//! The fixed sets of words: why a version, why a fallback, why an error, how a try ended.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every word, in the order of the declaration; `self as usize` indexes it.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why a request got its version, or none.
    Reason {
        Rule => "rule",
        Default => "default",
        Inherited => "inherited",
        /// A tester's word.
        Override => "override",
        NoRoute => "no_route",
        NoService => "no_service",
        Redirect => "redirect",
        BadRequest => "bad_request",
    }
}

words! {
    /// Why a request was not served by the version it was decided for.
    FallbackReason {
        NoInstances => "no_instances",
        Unhealthy => "unhealthy",
        ConnectFailed => "connect_failed",
        /// A document closes the version.
        Closed => "closed",
    }
}

words! {
    /// What an instance is doing, as `/status` and `graygate_instances` say it.
    InstanceState {
        Healthy => "healthy",
        Unhealthy => "unhealthy",
        Ejected => "ejected",
        Draining => "draining",
    }
}

words! {
    /// How one try at an upstream ended.
    TryOutcome {
        /// A response header arrived, whatever its status.
        Response => "response",
        ConnectFailed => "connect_failed",
        /// No connection stood within `timeouts.connect`.
        ConnectTimeout => "connect_timeout",
        /// A kept connection had been closed by the upstream: the request was sent again, and cost nothing.
        Stale => "stale",
        /// The connection broke before a response header arrived.
        Reset => "reset",
        /// Nothing came for `timeouts.read`.
        Timeout => "timeout",
        /// No response header within `timeouts.request`, though bytes may have come.
        RequestTimeout => "request_timeout",
        /// The upstream's answer could not be understood.
        Invalid => "invalid",
        /// The client left, or sent something wrong, while the try was under way.
        ClientGone => "client_gone",
    }
}

words! {
    /// What became of a copy of a request.
    MirrorOutcome {
        /// With the status of the real answer, or there was none to compare it with.
        Answered => "answered",
        /// With another status than the real answer's.
        Differs => "differs",
        /// No connection, a broken one, or no whole answer in time.
        Failed => "failed",
        /// Not sent: no instance of the version is available.
        NoInstance => "no_instance",
        /// Not sent: as many as may be are under way.
        OverBudget => "over_budget",
        /// Not sent: the body is too long.
        TooLarge => "too_large",
    }
}

words! {
    /// The class of a status code.
    StatusClass {
        Informational => "1xx",
        Success => "2xx",
        Redirection => "3xx",
        ClientError => "4xx",
        ServerError => "5xx",
    }
}

impl StatusClass {
    pub fn of(status: u16) -> StatusClass {
        match status / 100 {
            1 => StatusClass::Informational,
            2 => StatusClass::Success,
            3 => StatusClass::Redirection,
            4 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }
}

words! {
    /// Why the proxy answered by itself: the value of `x-graygate-error`.
    ErrorReason {
        BadRequest => "bad_request",
        NoRoute => "no_route",
        Timeout => "timeout",
        BodyTooLarge => "body_too_large",
        RateLimited => "rate_limited",
        HeadersTooLarge => "headers_too_large",
        Internal => "internal",
        UpstreamError => "upstream_error",
        NoInstance => "no_instance",
        NoService => "no_service",
        Overloaded => "overloaded",
        UpstreamTimeout => "upstream_timeout",
    }
}

impl ErrorReason {
    /// The status that goes with the reason: the one table of the contract's section 6.
    pub fn status(self) -> u16 {
        match self {
            ErrorReason::BadRequest => 400,
            ErrorReason::NoRoute => 404,
            ErrorReason::Timeout => 408,
            ErrorReason::BodyTooLarge => 413,
            ErrorReason::RateLimited => 429,
            ErrorReason::HeadersTooLarge => 431,
            ErrorReason::Internal => 500,
            ErrorReason::UpstreamError => 502,
            ErrorReason::NoInstance | ErrorReason::NoService | ErrorReason::Overloaded => 503,
            ErrorReason::UpstreamTimeout => 504,
        }
    }

    /// The one line the client reads.
    pub fn line(self) -> &'static str {
        match self {
            ErrorReason::BadRequest => "the request could not be understood\n",
            ErrorReason::NoRoute => "no route for this request\n",
            ErrorReason::Timeout => "the request did not arrive in time\n",
            ErrorReason::BodyTooLarge => "the request body is too large\n",
            ErrorReason::RateLimited => "too many requests in too short a time\n",
            ErrorReason::HeadersTooLarge => "the request headers are too large\n",
            ErrorReason::Internal => "internal error\n",
            ErrorReason::UpstreamError => "the upstream failed\n",
            ErrorReason::NoInstance => "no instance can take this request\n",
            ErrorReason::NoService => "the service does not exist\n",
            ErrorReason::Overloaded => "too many requests are under way\n",
            ErrorReason::UpstreamTimeout => "the upstream did not answer in time\n",
        }
    }
}
