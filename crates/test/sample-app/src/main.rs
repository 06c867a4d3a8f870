//! `sample-app`: see the library's documentation. Everything is set by environment variables.

fn main() -> anyhow::Result<()> {
    let settings = sample_app::Settings::from_vars(|name| std::env::var(name).ok())?;
    eprintln!("sample-app: listening on {}, data in {}", settings.listen, settings.data_dir.display());
    sample_app::run(&settings)
}
