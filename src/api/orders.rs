//! What a connection is told from outside: to finish, or to end at once.
//!
//! A connection is polled with every step of every request. All it pays for being told is a look at
//! one byte: timers and cancellations are waited for elsewhere, and wake it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Waker},
};

/// What a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Answer what is under way, and take nothing more.
    Finish,
    /// End now.
    Cut,
}

const NONE: u8 = 0;
const FINISH: u8 = 1;
const CUT: u8 = 2;

/// The latest order for one connection.
#[derive(Debug, Default)]
pub struct Told {
    order: AtomicU8,
    /// The connection's task; stays when it is woken, as it registers only once.
    waker: Mutex<Option<Waker>>,
}

impl Told {
    /// Gives an order. `Cut` is the last one.
    pub fn tell(&self, order: Order) {
        let order = match order {
            Order::Finish => FINISH,
            Order::Cut => CUT,
        };
        self.order.fetch_max(order, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waker.as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// The connection's end: hears each order once.
#[derive(Debug, Default)]
pub struct Listener {
    waker: Option<Waker>,
    heard: u8,
}

impl Listener {
    /// A new order, if there is one; otherwise the task is woken when there is.
    pub fn hear(&mut self, told: &Told, context: &Context<'_>) -> Option<Order> {
        if self
            .waker
            .as_ref()
            .is_none_or(|waker| !waker.will_wake(context.waker()))
        {
            // Before the look: an order that comes in between wakes this task again.
            let waker = context.waker();
            *told.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
            self.waker = Some(waker.clone());
        }
        let order = told.order.load(Ordering::Acquire);
        if order == self.heard {
            return None;
        }
        self.heard = order;
        match order {
            NONE => None,
            FINISH => Some(Order::Finish),
            _ => Some(Order::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, task::Poll};

    use super::*;

    #[tokio::test]
    async fn each_order_is_heard_once_and_wakes() {
        let told = Arc::new(Told::default());
        let (mut listener, theirs) = (Listener::default(), Arc::clone(&told));
        let waiting = tokio::spawn(async move {
            let mut heard = Vec::new();
            poll_fn(|context| {
                heard.extend(listener.hear(&theirs, context));
                if heard.last() == Some(&Order::Cut) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            heard
        });
        for order in [Order::Finish, Order::Finish, Order::Cut, Order::Finish] {
            told.tell(order);
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap(), [Order::Finish, Order::Cut]);
    }
}
