//! Pictures as PNG files. The font comes with the program, so that it looks the same on machines that have none.

use std::path::Path;

use plotters::{
    coord::Shift,
    prelude::{BitMapBackend, DrawingArea, IntoDrawingArea, WHITE},
    style::{FontStyle, register_font},
};

/// A white area of so many pixels that becomes the file when it is presented. Knows the font `sans-serif`.
pub(crate) fn picture(
    path: &Path,
    pixels: (u32, u32),
) -> Result<DrawingArea<BitMapBackend<'_>, Shift>, Box<dyn std::error::Error + Send + Sync>> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "not a font")?;
    let area = BitMapBackend::new(path, pixels).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}
