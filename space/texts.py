"""What the page says, in English and Chinese."""

LANGUAGES = {"en": "English", "zh": "中文"}

# key: (English, Chinese)
TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Who is who?", "谁是谁？"),
    "intro": (
        "Write what people say about a video. The model finds who is meant each time, and which head in the picture "
        "that is.",
        "写下大家对一段视频的评论：模型会找出每次说的是谁，以及画面里哪一个头像就是他。",
    ),
    "language": ("Language", "语言"),
    "examples": ("Examples", "示例"),
    "chat": ("Dialogue", "对话"),
    "paste_here": ("Write, or paste a whole chat", "写一句，或粘贴整段聊天记录"),
    "speaker": ("Speaker", "说话人"),
    "line": ("Line", "话语"),
    "add_line": ("Add a line", "加一句"),
    "remove_line": ("Remove line", "删除话语"),
    "video_title": ("Title of the video (optional)", "视频标题（可不填）"),
    "tab_pictures": ("Heads", "头像"),
    "tab_frame": ("Frame", "画面"),
    "tab_video": ("Video", "视频"),
    "pictures": ("Pictures of heads, one a person", "头像图片，每人一张"),
    "frame": ("Frame", "画面"),
    "boxes": ("Boxes of the heads", "头部方框"),
    "boxes_info": (
        "One a line, in pixels: left, top, right, bottom. Heads are looked for if there is none.",
        "每行一个，单位像素：左, 上, 右, 下。不填则自动查找头部。",
    ),
    "draw_boxes": ("Drag over a head to draw its box.", "在头部上拖动即可画出方框。"),
    "remove_head": ("Remove the box of head", "删除头像方框"),
    "video": ("A short video", "一段短视频"),
    "run": ("Find who is who", "看看谁是谁"),
    "stop": ("Stop", "停止"),
    "clear": ("Clear", "清空"),
    "limits": (
        "Limits: {characters:,} characters in {utterances} utterances; {pictures} pictures of at most "
        "{picture_megabytes} MB and {megapixels} megapixels; a video of at most {video_seconds} s and "
        "{video_megabytes} MB. Uploads are deleted when you leave the page, ten minutes after their use at the latest; "
        "nothing that you write is stored or logged.",
        "限制：对话最多 {utterances} 句、{characters:,} 字；图片最多 {pictures} 张，每张不超过 {picture_megabytes} MB、"
        "{megapixels} 百万像素；视频不超过 {video_seconds} 秒、{video_megabytes} MB。离开页面时上传的文件即被删除，"
        "最迟在使用后十分钟删除；你写的内容不会被保存或记入日志。",
    ),
    # what is being done
    "reading": ("Reading…", "读取中……"),
    "detecting": (
        "Detecting and tracking heads: {done:.1f} of {total:.1f} s",
        "检测并跟踪头部：{done:.1f} / {total:.1f} 秒",
    ),
    "linking": ("Linking words and heads…", "关联文字与头像……"),
    "done": (
        "Done in {seconds:.1f} s: {mentions} mentions of {clusters} persons, {linked} of them in the picture.",
        "完成，用时 {seconds:.1f} 秒：{mentions} 处提及，{clusters} 个人，其中 {linked} 个在画面里。",
    ),
    "done_text": (
        "Done in {seconds:.1f} s: {mentions} mentions of {clusters} persons; no picture was given.",
        "完成，用时 {seconds:.1f} 秒：{mentions} 处提及，{clusters} 个人；没有给图片。",
    ),
    "stopped": ("Stopped.", "已停止。"),
    "refused": ("Nothing was run: see the message beside the field.", "没有运行：请看输入框旁的说明。"),
    "failed": ("The model failed on this input. Nothing else is affected.", "模型处理这个输入时出错，其他不受影响。"),
    "no_model": ("The model could not be loaded: {reason}", "模型无法加载：{reason}"),
    # what is refused
    "no_words": ("There is nothing to read: write at least one line.", "没有内容：请至少写一行。"),
    "too_long": ("{found:,} characters, more than the limit of {limit:,}.", "共 {found:,} 字，超过上限 {limit:,} 字。"),
    "too_many_lines": ("{found} utterances, more than the limit of {limit}.", "共 {found} 句，超过上限 {limit} 句。"),
    "speakers_differ": ("{found} speakers for {expected} utterances.", "{expected} 句话却有 {found} 个说话人。"),
    "too_many_pictures": (
        "{found} pictures, more than the limit of {limit}.",
        "共 {found} 张图片，超过上限 {limit} 张。",
    ),
    "file_too_large": (
        "{name}: {found:.1f} MB, more than the limit of {limit} MB.",
        "{name}：{found:.1f} MB，超过上限 {limit} MB。",
    ),
    "too_many_pixels": (
        "{name}: {found:.1f} megapixels, more than the limit of {limit}.",
        "{name}：{found:.1f} 百万像素，超过上限 {limit}。",
    ),
    "no_picture": (
        "{name} cannot be read as a picture; PNG, JPEG, WebP, GIF or BMP is expected.",
        "{name} 不是可读的图片；请使用 PNG、JPEG、WebP、GIF 或 BMP。",
    ),
    "gone": ("{name} has been deleted meanwhile; upload it again.", "{name} 已被删除，请重新上传。"),
    "no_boxes": (
        "No head was found in the frame: say where the heads are, by dragging over them or one box a line, for "
        "example 10, 20, 90, 120.",
        "画面里没有找到头部：请写明头部位置，在画面上拖出方框，或每行写一个，例如 10, 20, 90, 120。",
    ),
    "no_detector": (
        "Heads cannot be looked for here: say where the heads are, by dragging over them or one box a line, for "
        "example 10, 20, 90, 120.",
        "这里无法自动查找头部：请写明头部位置，在画面上拖出方框，或每行写一个，例如 10, 20, 90, 120。",
    ),
    "no_frame": ("There are boxes, but no frame: upload it too.", "有方框但没有画面：请也上传画面。"),
    "bad_box": (
        "Line {line}: {found!r} is no box in a frame of {width} x {height} pixels; expected left, top, right, bottom.",
        "第 {line} 行：{found!r} 不是 {width} x {height} 像素画面内的方框；应为 左, 上, 右, 下。",
    ),
    "several_kinds": (
        "Give one of the three: head pictures, a frame with boxes, or a video; found {found}.",
        "头像、画面加方框、视频三者只能给一种；现在有 {found} 种。",
    ),
    "bad_video": ("This video cannot be used: {reason}", "这段视频无法使用：{reason}"),
    "no_tracking": (
        "Videos cannot be read here: the extra “tracking” is not installed.",
        "这里无法处理视频：没有安装扩展 tracking。",
    ),
    "too_long_video": (
        "{found:.0f} s, more than the limit of {limit} s.",
        "时长 {found:.0f} 秒，超过上限 {limit} 秒。",
    ),
    "no_heads": ("No head was found in the video.", "视频里没有找到头部。"),
    # the result
    "persons": ("Who is meant", "说的是谁"),
    "heads": ("Heads", "头像"),
    "head": ("Head", "头像"),
    "not_in_picture": ("not in the picture", "画面里没有"),
    "mentions": ("Mentions", "提及"),
    "ranking": ("Which head is it?", "是哪个头像？"),
    "timeline": ("When they are to be seen", "出现时间"),
    "seconds": ("s", "秒"),
    "download": ("Download JSON", "下载 JSON"),
    "link": ("Link to this example", "此示例的链接"),
    "empty": ("Pick an example, or write a dialogue.", "选一个示例，或写一段对话。"),
    "nobody": ("No mention of a person was found.", "没有找到提到的人。"),
}


def say(key: str, language: str = "en", **values: object) -> str:
    """The text `key` in a language; English where the language is unknown."""
    return TEXTS[key][language == "zh"].format(**values)


def words() -> dict[str, dict[str, str]]:
    """All texts by language, as the page's own scripts take them."""
    return {language: {key: pair[language == "zh"] for key, pair in TEXTS.items()} for language in LANGUAGES}
