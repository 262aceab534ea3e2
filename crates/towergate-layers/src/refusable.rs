//! A call that a layer may refuse before the inner service sees it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use towergate_core::{BoxError, Error};

pin_project! {
    /// The inner future, or the error instead of it.
    #[derive(Debug)]
    #[project = Projected]
    pub(crate) enum Refusable<F> {
        Called { #[pin] inner: F },
        Refused { error: Option<Error> },
    }
}

impl<F> Refusable<F> {
    pub(crate) fn called(inner: F) -> Self {
        Self::Called { inner }
    }

    pub(crate) fn refused(error: Error) -> Self {
        Self::Refused { error: Some(error) }
    }
}

impl<F, T, E> Future for Refusable<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Called { inner } => inner.poll(cx).map_err(Into::into),
            // Polled again after its end it has nothing more to say.
            Projected::Refused { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())))
            }
        }
    }
}
