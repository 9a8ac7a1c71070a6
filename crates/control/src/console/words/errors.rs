//! Why something was not done, in both languages.

use super::{sentences, words};
use crate::error::Error;
use crate::report::Language;

words! {
    bad_request "This is not what the page takes" "请求有误"
    not_signed_in "You are not signed in" "您尚未登录"
    wrong_password "The name or the password is wrong." "用户名或密码错误。"
    not_allowed "You may not do this" "您无权这样做"
    not_found "There is no such thing" "没有找到"
    no_method "This cannot be done here" "这里不能这样做"
    forbidden_state "The state does not allow it" "当前状态不允许"
    has_changed "It has changed meanwhile" "内容在此期间已被更改"
    too_large "It is too large" "内容过大"
    other_host "This address does not serve that host" "该地址不服务此主机"
    cannot_be_done "It cannot be done" "无法完成"
    has_problems "It has problems" "文档有问题"
    say_what "It has to say what it replaces" "必须说明要替换的内容"
    not_let_in "The identity provider does not let you in" "身份提供方未允许登录"
    unreachable "What was asked on your behalf does not answer" "代为询问的服务没有应答"
    too_many "Too many at once" "请求过多"
    internal "Something is broken here" "内部错误"
    store_away "The store cannot be used" "存储不可用"
    store_full "The store is nearly full" "存储即将写满"
    without_store "What helps without it: stop the gray instances, and `release` answers." "没有存储也能做的：停掉灰度实例，`release` 就会应答。"
    nothing_was_changed "Nothing was changed." "没有任何更改。"
}

sentences! {
    try_again_in(seconds) "Try again in {seconds} s." "请在 {seconds} 秒后重试。"
}

impl Language {
    /// What kind of refusal it is.
    pub fn refusal(self, error: &Error) -> &'static str {
        match error {
            Error::BadRequest(_) => self.bad_request(),
            Error::Unauthenticated => self.not_signed_in(),
            Error::WrongPassword => self.wrong_password(),
            Error::NotLetIn(_) => self.not_let_in(),
            Error::Unreachable(_) => self.unreachable(),
            Error::Denied(_) => self.not_allowed(),
            Error::NotFound(_) => self.not_found(),
            Error::Method => self.no_method(),
            Error::Conflict(_) => self.forbidden_state(),
            Error::PreconditionFailed { .. } => self.has_changed(),
            Error::TooLarge(_) => self.too_large(),
            Error::Misdirected(_) => self.other_host(),
            Error::Invalid(_) => self.cannot_be_done(),
            Error::Problems(_) => self.has_problems(),
            Error::PreconditionRequired(_) => self.say_what(),
            Error::TooMany { .. } => self.too_many(),
            Error::Internal(_) => self.internal(),
            Error::Away(_) => self.store_away(),
            Error::Full(_) => self.store_full(),
        }
    }
}
