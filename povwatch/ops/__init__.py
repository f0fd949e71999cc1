"""Operations beside a clip's way: rebuild, report, clean."""
