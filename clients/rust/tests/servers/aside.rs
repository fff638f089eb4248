//! A runtime beside the test's, which can be stopped while that one goes on.

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// It has one thread.
pub struct Aside(Option<Runtime>);

impl Aside {
    pub fn new() -> Self {
        let mut builder = Builder::new_multi_thread();
        Self(Some(
            builder.worker_threads(1).enable_all().build().unwrap(),
        ))
    }

    pub fn handle(&self) -> &Handle {
        self.0.as_ref().unwrap().handle()
    }

    /// Returns when nothing runs any more, for that long.
    pub async fn pause(&self, time: Duration) {
        let (stops, stopped) = tokio::sync::oneshot::channel();
        self.handle().spawn(async move {
            stops.send(()).unwrap();
            std::thread::sleep(time); // not tokio's: the whole runtime
        });
        stopped.await.unwrap();
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Within another runtime nobody may wait for the end of one.
        self.0.take().unwrap().shutdown_background();
    }
}
