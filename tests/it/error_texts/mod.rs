//! Every error text, provoked for real and compared with a committed table, `tests/it/error_texts.txt`.
//!
//! [`table`] collects the texts, a file for each surface provokes them, and [`complete`] compares the table with the source.

mod commands;
mod complete;
mod configuration;
mod edge;
mod failing;
mod filters;
mod foreign_servers;
mod frames;
mod http;
mod redis;
mod schema_files;
mod table;

use table::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_text_is_the_one_in_the_table() {
    let mut table = Table::default();
    http::provoke(&mut table).await;
    edge::provoke(&mut table).await;
    filters::provoke(&mut table).await;
    frames::provoke(&mut table).await;
    foreign_servers::provoke(&mut table).await;
    redis::provoke(&mut table).await;
    let mut table = tokio::task::spawn_blocking(move || {
        commands::provoke(&mut table);
        configuration::provoke(&mut table);
        schema_files::provoke(&mut table);
        table
    })
    .await
    .expect("the commands run");
    complete::check(&mut table);
    table.compare();
}
