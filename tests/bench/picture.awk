# Bars of microseconds on a logarithmic scale, as SVG. Input: lines of name|microseconds.
BEGIN { FS = "|" }
{ name[NR] = $1; us[NR] = $2 }
END {
    left = 270; right = 80; width = 470; bar = 22; height = NR * (bar + 8) + 16
    low = log(0.1); high = log(1000)
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\">\n", \
        left + width + right, height
    printf "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
    for (i = 1; i <= NR; i++) {
        y = 8 + (i - 1) * (bar + 8)
        length_ = (log(us[i]) - low) / (high - low) * width
        printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left - 8, y + 16, name[i]
        printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", left, y, length_ < 2 ? 2 : length_, bar, \
            name[i] ~ /auth_ext/ ? "#336791" : "#b8c4ce"
        printf "<text x=\"%d\" y=\"%d\">%.*f µs</text>\n", left + length_ + 6, y + 16, us[i] < 10 ? 2 : 0, us[i]
    }
    print "</svg>"
}
