<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE">
<context>
    <name>AboutPage</name>
    <message>
        <source>Tacita {0}</source>
        <translation>Tacita {0}</translation>
    </message>
    <message>
        <source>A chat whose language model never hears you.</source>
        <translation>Ein Chat, dessen Sprachmodell Sie nie hört.</translation>
    </message>
    <message>
        <source>Apache License 2.0. Built with Qt (LGPL 3), PyTorch, Transformers and others; see the licences in the installation folder.</source>
        <translation>Apache-Lizenz 2.0. Gebaut mit Qt (LGPL 3), PyTorch, Transformers und anderen; die Lizenzen liegen im Installationsordner.</translation>
    </message>
    <message>
        <source>Open the log folder</source>
        <translation>Ordner der Protokolle öffnen</translation>
    </message>
</context>
<context>
    <name>AppearancePage</name>
    <message>
        <source>Look</source>
        <translation>Aussehen</translation>
    </message>
    <message>
        <source>As the system</source>
        <translation>Wie das System</translation>
    </message>
    <message>
        <source>Light</source>
        <translation>Hell</translation>
    </message>
    <message>
        <source>Dark</source>
        <translation>Dunkel</translation>
    </message>
    <message>
        <source>Text size</source>
        <translation>Schriftgröße</translation>
    </message>
    <message>
        <source>Language</source>
        <translation>Sprache</translation>
    </message>
    <message>
        <source>Mark the task bar when an answer is ready</source>
        <translation>In der Taskleiste melden, wenn eine Antwort fertig ist</translation>
    </message>
    <message>
        <source>&amp;Look</source>
        <translation>&amp;Aussehen</translation>
    </message>
    <message>
        <source>Text &amp;size</source>
        <translation>Schrift&amp;größe</translation>
    </message>
    <message>
        <source>La&amp;nguage</source>
        <translation>S&amp;prache</translation>
    </message>
    <message>
        <source>A new language is used from the next start.</source>
        <translation>Eine neue Sprache gilt ab dem nächsten Start.</translation>
    </message>
    <message>
        <source>Reset this page</source>
        <translation>Diese Seite zurücksetzen</translation>
    </message>
</context>
<context>
    <name>BytePicture</name>
    <message>
        <source>Picture of the encrypted bytes</source>
        <translation>Bild der verschlüsselten Bytes</translation>
    </message>
</context>
<context>
    <name>ChatList</name>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat: never saved</source>
        <translation>Flüchtiger Chat: wird nie gespeichert</translation>
    </message>
    <message>
        <source>Search chats</source>
        <translation>Chats durchsuchen</translation>
    </message>
    <message>
        <source>Chats</source>
        <translation>Chats</translation>
    </message>
    <message>
        <source>Chat deleted</source>
        <translation>Chat gelöscht</translation>
    </message>
    <message>
        <source>Undo</source>
        <translation>Rückgängig</translation>
    </message>
    <message>
        <source>No chat has these words.</source>
        <translation>Kein Chat enthält diese Wörter.</translation>
    </message>
    <message>
        <source>Your chats appear here.</source>
        <translation>Hier erscheinen Ihre Chats.</translation>
    </message>
    <message>
        <source>Rename…</source>
        <translation>Umbenennen …</translation>
    </message>
    <message>
        <source>Unpin</source>
        <translation>Lösen</translation>
    </message>
    <message>
        <source>Pin to the top</source>
        <translation>Oben anheften</translation>
    </message>
    <message>
        <source>Export…</source>
        <translation>Exportieren …</translation>
    </message>
    <message>
        <source>Delete</source>
        <translation>Löschen</translation>
    </message>
    <message>
        <source>Rename chat</source>
        <translation>Chat umbenennen</translation>
    </message>
    <message>
        <source>Title</source>
        <translation>Titel</translation>
    </message>
</context>
<context>
    <name>ChatPage</name>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>Your message is sent as soon as the server is ready.</source>
        <translation>Ihre Nachricht wird gesendet, sobald der Server bereit ist.</translation>
    </message>
    <message>
        <source>Reading this prompt takes about {0} and {1} of traffic.</source>
        <translation>Diese Eingabe zu lesen dauert etwa {0} und überträgt {1}.</translation>
    </message>
    <message>
        <source>Editing: sending starts a new branch here. What follows the old message stays reachable with the arrows beside it.</source>
        <translation>Bearbeiten: Beim Senden beginnt hier ein neuer Zweig. Was auf die alte Nachricht folgt, bleibt über die Pfeile daneben erreichbar.</translation>
    </message>
</context>
<context>
    <name>CodeBlock</name>
    <message>
        <source>Copy code</source>
        <translation>Code kopieren</translation>
    </message>
    <message>
        <source>Code</source>
        <translation>Code</translation>
    </message>
    <message>
        <source>code</source>
        <translation>Code</translation>
    </message>
</context>
<context>
    <name>Composer</name>
    <message>
        <source>Write a message</source>
        <translation>Nachricht schreiben</translation>
    </message>
    <message>
        <source>Message</source>
        <translation>Nachricht</translation>
    </message>
    <message>
        <source>Send (Enter)</source>
        <translation>Senden (Eingabe)</translation>
    </message>
    <message>
        <source>Stop (Esc)</source>
        <translation>Anhalten (Esc)</translation>
    </message>
</context>
<context>
    <name>ConnectionForm</name>
    <message>
        <source>Server URL</source>
        <translation>Adresse des Servers</translation>
    </message>
    <message>
        <source>only if the operator gave you one</source>
        <translation>nur, wenn der Betreiber Ihnen eines gab</translation>
    </message>
    <message>
        <source>Access token</source>
        <translation>Zugangskennwort</translation>
    </message>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>the server&apos;s default</source>
        <translation>die Vorgabe des Servers</translation>
    </message>
    <message>
        <source>Test connection</source>
        <translation>Verbindung prüfen</translation>
    </message>
    <message>
        <source>&amp;URL</source>
        <translation>&amp;Adresse</translation>
    </message>
    <message>
        <source>Access &amp;token</source>
        <translation>&amp;Zugangskennwort</translation>
    </message>
    <message>
        <source>&amp;Model</source>
        <translation>&amp;Modell</translation>
    </message>
    <message>
        <source>Testing…</source>
        <translation>Wird geprüft …</translation>
    </message>
</context>
<context>
    <name>Controller</name>
    <message>
        <source>The settings could not be saved.</source>
        <translation>Die Einstellungen konnten nicht gespeichert werden.</translation>
    </message>
    <message>
        <source>Free some disk space, or check the folder&apos;s permissions.</source>
        <translation>Schaffen Sie Platz oder prüfen Sie die Rechte des Ordners.</translation>
    </message>
</context>
<context>
    <name>DataDialogs</name>
    <message>
        <source>The exported file is not encrypted.</source>
        <translation>Die exportierte Datei ist nicht verschlüsselt.</translation>
    </message>
    <message>
        <source>Anyone who can read the file can read the chat.</source>
        <translation>Wer die Datei lesen kann, kann den Chat lesen.</translation>
    </message>
    <message>
        <source>Export</source>
        <translation>Exportieren</translation>
    </message>
    <message>
        <source>The file could not be written.</source>
        <translation>Die Datei konnte nicht geschrieben werden.</translation>
    </message>
    <message>
        <source>Import</source>
        <translation>Importieren</translation>
    </message>
    <message>
        <source>The file is too large.</source>
        <translation>Die Datei ist zu groß.</translation>
    </message>
    <message>
        <source>Export fewer chats at once.</source>
        <translation>Exportieren Sie weniger Chats auf einmal.</translation>
    </message>
    <message>
        <source>The file could not be read.</source>
        <translation>Die Datei konnte nicht gelesen werden.</translation>
    </message>
    <message>
        <source>Delete all chats?</source>
        <translation>Alle Chats löschen?</translation>
    </message>
    <message>
        <source>This cannot be undone.</source>
        <translation>Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Delete all</source>
        <translation>Alle löschen</translation>
    </message>
    <message>
        <source>Check the folder&apos;s permissions and free space, then try again.</source>
        <translation>Prüfen Sie Rechte und freien Platz des Ordners und versuchen Sie es erneut.</translation>
    </message>
</context>
<context>
    <name>DataPage</name>
    <message>
        <source>Chats are kept encrypted in {0}.</source>
        <translation>Chats liegen verschlüsselt in {0}.</translation>
    </message>
    <message>
        <source>Chats are in memory only and are forgotten when you quit.</source>
        <translation>Chats sind nur im Arbeitsspeicher und beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>Export all chats…</source>
        <translation>Alle Chats exportieren …</translation>
    </message>
    <message>
        <source>Import chats…</source>
        <translation>Chats importieren …</translation>
    </message>
    <message>
        <source>Delete all chats…</source>
        <translation>Alle Chats löschen …</translation>
    </message>
    <message>
        <source>Factory reset…</source>
        <translation>Alles zurücksetzen …</translation>
    </message>
</context>
<context>
    <name>EmptyChat</name>
    <message>
        <source>Progress</source>
        <translation>Fortschritt</translation>
    </message>
    <message>
        <source>Stop connecting</source>
        <translation>Verbinden abbrechen</translation>
    </message>
    <message>
        <source>Temporary chat</source>
        <translation>Flüchtiger Chat</translation>
    </message>
    <message>
        <source>Nothing of this chat is written down. It is gone when you leave it.</source>
        <translation>Von diesem Chat wird nichts gespeichert. Er ist weg, wenn Sie ihn verlassen.</translation>
    </message>
    <message>
        <source>Ask away</source>
        <translation>Fragen Sie</translation>
    </message>
    <message>
        <source>Your words are encrypted on this computer. The server calculates with numbers it cannot read.</source>
        <translation>Ihre Worte werden auf diesem Rechner verschlüsselt. Der Server rechnet mit Zahlen, die er nicht lesen kann.</translation>
    </message>
</context>
<context>
    <name>ErrorCard</name>
    <message>
        <source>Error</source>
        <translation>Fehler</translation>
    </message>
    <message>
        <source>Start the engine again</source>
        <translation>Rechenprogramm neu starten</translation>
    </message>
    <message>
        <source>Try again</source>
        <translation>Noch einmal</translation>
    </message>
    <message>
        <source>Connect again</source>
        <translation>Neu verbinden</translation>
    </message>
    <message>
        <source>Copy details</source>
        <translation>Einzelheiten kopieren</translation>
    </message>
    <message>
        <source>Dismiss</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>FindBar</name>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>Earlier match</source>
        <translation>Frühere Stelle</translation>
    </message>
    <message>
        <source>Later match</source>
        <translation>Spätere Stelle</translation>
    </message>
    <message>
        <source>No match</source>
        <translation>Keine Stelle</translation>
    </message>
    <message>
        <source>{0} of {1}</source>
        <translation>{0} von {1}</translation>
    </message>
</context>
<context>
    <name>FirstRunPage</name>
    <message>
        <source>&amp;Start a local server on this computer</source>
        <translation>Einen lokalen &amp;Server auf diesem Rechner starten</translation>
    </message>
    <message>
        <source>Use a &amp;remote server</source>
        <translation>Einen &amp;entfernten Server verwenden</translation>
    </message>
    <message>
        <source>Start chatting</source>
        <translation>Chat beginnen</translation>
    </message>
    <message>
        <source>Welcome to Tacita</source>
        <translation>Willkommen bei Tacita</translation>
    </message>
    <message>
        <source>A language model answers you, and the computer that does its large sums never learns what you wrote: it calculates with encrypted numbers.</source>
        <translation>Ein Sprachmodell antwortet Ihnen, und der Rechner, der die großen Rechnungen ausführt, erfährt nie, was Sie schrieben: Er rechnet mit verschlüsselten Zahlen.</translation>
    </message>
    <message>
        <source>What you write and what the model answers</source>
        <translation>Was Sie schreiben und was das Modell antwortet</translation>
    </message>
    <message>
        <source>All numbers inside the model that follow from it</source>
        <translation>Alle Zahlen im Modell, die daraus folgen</translation>
    </message>
    <message>
        <source>Saved chats: encrypted, on this computer only</source>
        <translation>Gespeicherte Chats: verschlüsselt, nur auf diesem Rechner</translation>
    </message>
    <message>
        <source>When you chat, and from which network address</source>
        <translation>Wann Sie chatten und von welcher Netzadresse</translation>
    </message>
    <message>
        <source>How long prompts and replies are, and how many</source>
        <translation>Wie lang und wie viele Eingaben und Antworten sind</translation>
    </message>
    <message>
        <source>Which model you use</source>
        <translation>Welches Modell Sie verwenden</translation>
    </message>
    <message>
        <source>The server never sees</source>
        <translation>Der Server sieht nie</translation>
    </message>
    <message>
        <source>The server does see</source>
        <translation>Der Server sieht</translation>
    </message>
    <message>
        <source>Where the model runs</source>
        <translation>Wo das Modell läuft</translation>
    </message>
    <message>
        <source>Good for trying it out: everything stays on this computer. The model is prepared once, which takes a few minutes.</source>
        <translation>Gut zum Ausprobieren: Alles bleibt auf diesem Rechner. Das Modell wird einmal vorbereitet, das dauert einige Minuten.</translation>
    </message>
    <message>
        <source>Where your key is kept</source>
        <translation>Wo Ihr Schlüssel liegt</translation>
    </message>
</context>
<context>
    <name>KeyChoice</name>
    <message>
        <source>In the system &amp;keyring (recommended)</source>
        <translation>Im Schlüssel&amp;bund des Systems (empfohlen)</translation>
    </message>
    <message>
        <source>Sealed with a &amp;passphrase, asked at each start</source>
        <translation>Mit einem &amp;Kennsatz versiegelt, bei jedem Start erfragt</translation>
    </message>
    <message>
        <source>For this &amp;session only: nothing is kept</source>
        <translation>&amp;Nur für diese Sitzung: nichts wird behalten</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>Passphrase again</source>
        <translation>Kennsatz noch einmal</translation>
    </message>
    <message>
        <source>Chats stay in memory and are forgotten when you quit.</source>
        <translation>Chats bleiben im Arbeitsspeicher und sind beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>At least {0} characters, the same in both fields.</source>
        <translation>Mindestens {0} Zeichen, in beiden Feldern gleich.</translation>
    </message>
    <message>
        <source>The system keyring cannot be reached.</source>
        <translation>Der Schlüsselbund des Systems ist nicht erreichbar.</translation>
    </message>
</context>
<context>
    <name>KeyDialog</name>
    <message>
        <source>Go on even though the keyring cannot be reached</source>
        <translation>Auch ohne Schlüsselbund fortfahren</translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>The same again</source>
        <translation>Noch einmal</translation>
    </message>
</context>
<context>
    <name>KeyTools</name>
    <message>
        <source>Change the key…</source>
        <translation>Schlüssel wechseln …</translation>
    </message>
    <message>
        <source>Save a recovery file…</source>
        <translation>Rettungsdatei speichern …</translation>
    </message>
    <message>
        <source>Use a recovery file…</source>
        <translation>Rettungsdatei verwenden …</translation>
    </message>
    <message>
        <source>Delete unused hints</source>
        <translation>Unbenutzte Hints löschen</translation>
    </message>
    <message>
        <source>Erase keys and chats…</source>
        <translation>Schlüssel und Chats löschen …</translation>
    </message>
    <message>
        <source>Recovery and erasing</source>
        <translation>Retten und Löschen</translation>
    </message>
    <message>
        <source>Hints on disk: {0}</source>
        <translation>Hints auf der Festplatte: {0}</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>A new key is made and everything is sealed anew. Earlier recovery files and backups no longer open this profile.</source>
        <translation>Ein neuer Schlüssel wird erzeugt und alles neu versiegelt. Frühere Rettungsdateien und Sicherungen öffnen dieses Profil nicht mehr.</translation>
    </message>
    <message>
        <source>The key was changed. Save a new recovery file.</source>
        <translation>Der Schlüssel wurde gewechselt. Speichern Sie eine neue Rettungsdatei.</translation>
    </message>
    <message>
        <source>Change the key</source>
        <translation>Schlüssel wechseln</translation>
    </message>
    <message>
        <source>Save a recovery file</source>
        <translation>Rettungsdatei speichern</translation>
    </message>
    <message>
        <source>Choose a passphrase for this file. Keep the file away from this computer.</source>
        <translation>Wählen Sie einen Kennsatz für diese Datei. Bewahren Sie die Datei getrennt von diesem Computer auf.</translation>
    </message>
    <message>
        <source>Passphrase of the file</source>
        <translation>Kennsatz der Datei</translation>
    </message>
    <message>
        <source>The recovery file was written.</source>
        <translation>Die Rettungsdatei wurde geschrieben.</translation>
    </message>
    <message>
        <source>Save</source>
        <translation>Speichern</translation>
    </message>
    <message>
        <source>Use a recovery file</source>
        <translation>Rettungsdatei verwenden</translation>
    </message>
    <message>
        <source>New passphrase at each start</source>
        <translation>Neuer Kennsatz für jeden Start</translation>
    </message>
    <message>
        <source>The key is in place.</source>
        <translation>Der Schlüssel ist eingesetzt.</translation>
    </message>
    <message>
        <source>Data that needs another key is never replaced.</source>
        <translation>Daten, die einen anderen Schlüssel brauchen, werden nie ersetzt.</translation>
    </message>
    <message>
        <source>Use this key</source>
        <translation>Diesen Schlüssel verwenden</translation>
    </message>
</context>
<context>
    <name>LayerRibbon</name>
    <message>
        <source>Layers of the model</source>
        <translation>Schichten des Modells</translation>
    </message>
    <message>
        <source>Each stroke is one encrypted layer group of the present token</source>
        <translation>Jeder Strich ist eine verschlüsselte Schichtgruppe des gegenwärtigen Tokens</translation>
    </message>
</context>
<context>
    <name>MainWindow</name>
    <message>
        <source>All replies of this chat, those on other branches too</source>
        <translation>Alle Antworten dieses Chats, auch die auf anderen Zweigen</translation>
    </message>
    <message>
        <source>Show or hide the chats</source>
        <translation>Chats ein- oder ausblenden</translation>
    </message>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat · never saved</source>
        <translation>Flüchtiger Chat · nie gespeichert</translation>
    </message>
</context>
<context>
    <name>MessageBody</name>
    <message>
        <source>Reply</source>
        <translation>Antwort</translation>
    </message>
</context>
<context>
    <name>MessageList</name>
    <message>
        <source>Messages</source>
        <translation>Nachrichten</translation>
    </message>
    <message>
        <source>Show earlier messages</source>
        <translation>Frühere Nachrichten zeigen</translation>
    </message>
    <message>
        <source>Jump to the end</source>
        <translation>Zum Ende springen</translation>
    </message>
</context>
<context>
    <name>MessageView</name>
    <message>
        <source>Your message</source>
        <translation>Ihre Nachricht</translation>
    </message>
    <message>
        <source>Reply</source>
        <translation>Antwort</translation>
    </message>
    <message>
        <source>Copy message</source>
        <translation>Nachricht kopieren</translation>
    </message>
    <message>
        <source>Edit and send again</source>
        <translation>Bearbeiten und erneut senden</translation>
    </message>
    <message>
        <source>Make another reply</source>
        <translation>Andere Antwort erzeugen</translation>
    </message>
    <message>
        <source>Previous branch</source>
        <translation>Voriger Zweig</translation>
    </message>
    <message>
        <source>Next branch</source>
        <translation>Nächster Zweig</translation>
    </message>
    <message>
        <source>Branch {0} of {1}</source>
        <translation>Zweig {0} von {1}</translation>
    </message>
    <message>
        <source>Stopped</source>
        <translation>Angehalten</translation>
    </message>
    <message>
        <source>Not finished</source>
        <translation>Nicht fertig</translation>
    </message>
    <message>
        <source>Interrupted</source>
        <translation>Unterbrochen</translation>
    </message>
</context>
<context>
    <name>MeterBar</name>
    <message>
        <source>Sent to the server in this session</source>
        <translation>In dieser Sitzung an den Server gesendet</translation>
    </message>
    <message>
        <source>Received from the server in this session</source>
        <translation>In dieser Sitzung vom Server empfangen</translation>
    </message>
    <message>
        <source>Time for one token</source>
        <translation>Zeit für ein Token</translation>
    </message>
    <message>
        <source>Tokens left before new secrets are made</source>
        <translation>Verbleibende Tokens, bis neue Geheimnisse erzeugt werden</translation>
    </message>
    <message>
        <source>{0} up</source>
        <translation>{0} gesendet</translation>
    </message>
    <message>
        <source>{0} down</source>
        <translation>{0} empfangen</translation>
    </message>
    <message>
        <source>{0} per token</source>
        <translation>{0} je Token</translation>
    </message>
    <message>
        <source>{0} tokens left</source>
        <translation>noch {0} Tokens</translation>
    </message>
</context>
<context>
    <name>ModelPage</name>
    <message>
        <source>System prompt</source>
        <translation>Systemanweisung</translation>
    </message>
    <message>
        <source>for example: Answer in short sentences.</source>
        <translation>zum Beispiel: Antworte in kurzen Sätzen.</translation>
    </message>
    <message>
        <source>Temperature</source>
        <translation>Temperatur</translation>
    </message>
    <message>
        <source>Top-p</source>
        <translation>Top-p</translation>
    </message>
    <message>
        <source>Longest reply</source>
        <translation>Längste Antwort</translation>
    </message>
    <message>
        <source> tokens</source>
        <translation> Tokens</translation>
    </message>
    <message>
        <source>another reply each time</source>
        <translation>jedes Mal eine andere Antwort</translation>
    </message>
    <message>
        <source>Seed</source>
        <translation>Startwert</translation>
    </message>
    <message>
        <source>System &amp;prompt</source>
        <translation>System&amp;anweisung</translation>
    </message>
    <message>
        <source>&amp;Temperature</source>
        <translation>&amp;Temperatur</translation>
    </message>
    <message>
        <source>T&amp;op-p</source>
        <translation>T&amp;op-p</translation>
    </message>
    <message>
        <source>&amp;Longest reply</source>
        <translation>&amp;Längste Antwort</translation>
    </message>
    <message>
        <source>&amp;Seed</source>
        <translation>&amp;Startwert</translation>
    </message>
    <message>
        <source>The system prompt is kept encrypted with your chats. Temperature 0 always takes the likeliest word.</source>
        <translation>Die Systemanweisung liegt verschlüsselt bei Ihren Chats. Temperatur 0 nimmt stets das wahrscheinlichste Wort.</translation>
    </message>
    <message>
        <source>Reset this page</source>
        <translation>Diese Seite zurücksetzen</translation>
    </message>
</context>
<context>
    <name>PassphraseDialog</name>
    <message>
        <source>Unlock your chats</source>
        <translation>Chats entsperren</translation>
    </message>
    <message>
        <source>Passphrase</source>
        <translation>Kennsatz</translation>
    </message>
    <message>
        <source>Unlock</source>
        <translation>Entsperren</translation>
    </message>
    <message>
        <source>Your key is sealed with a passphrase. Enter it to go on.</source>
        <translation>Ihr Schlüssel ist mit einem Kennsatz versiegelt. Geben Sie ihn ein, um fortzufahren.</translation>
    </message>
    <message>
        <source>Not now</source>
        <translation>Nicht jetzt</translation>
    </message>
</context>
<context>
    <name>PrivacyPage</name>
    <message>
        <source>Keep the key this way</source>
        <translation>Schlüssel so aufbewahren</translation>
    </message>
    <message>
        <source>Everything this app sends</source>
        <translation>Alles, was dieses Programm sendet</translation>
    </message>
    <message>
        <source>Encrypted activations to the server you chose, one message per layer group.</source>
        <translation>Verschlüsselte Aktivierungen an den Server Ihrer Wahl, eine Nachricht je Schichtgruppe.</translation>
    </message>
    <message>
        <source>Requests to that server for its description, the model&apos;s small part and hints.</source>
        <translation>Anfragen an diesen Server nach seiner Beschreibung, dem kleinen Teil des Modells und den Hints.</translation>
    </message>
    <message>
        <source>The server&apos;s access token, if you entered one, to that server.</source>
        <translation>Das Zugangskennwort des Servers, falls Sie eines eingaben, an diesen Server.</translation>
    </message>
    <message>
        <source>Nothing else: no telemetry, no update check, no crash report.</source>
        <translation>Sonst nichts: keine Nutzungsdaten, keine Suche nach neuen Fassungen, keine Absturzberichte.</translation>
    </message>
    <message>
        <source>Done.</source>
        <translation>Erledigt.</translation>
    </message>
</context>
<context>
    <name>SafeBrowser</name>
    <message>
        <source>Open this address in your browser?</source>
        <translation>Diese Adresse im Browser öffnen?</translation>
    </message>
    <message>
        <source>The site will see your visit. The model chose this link.</source>
        <translation>Die Seite sieht Ihren Besuch. Das Modell hat diesen Verweis gewählt.</translation>
    </message>
</context>
<context>
    <name>ServerPage</name>
    <message>
        <source>Servers</source>
        <translation>Server</translation>
    </message>
    <message>
        <source>Use this server</source>
        <translation>Diesen Server verwenden</translation>
    </message>
    <message>
        <source>Add a server</source>
        <translation>Server hinzufügen</translation>
    </message>
    <message>
        <source>Remove</source>
        <translation>Entfernen</translation>
    </message>
    <message>
        <source>Local server on this computer</source>
        <translation>Lokaler Server auf diesem Rechner</translation>
    </message>
    <message>
        <source>{0}  ·  in use</source>
        <translation>{0}  ·  in Gebrauch</translation>
    </message>
    <message>
        <source>A server program is started on this computer and ends with this window.</source>
        <translation>Ein Serverprogramm startet auf diesem Rechner und endet mit diesem Fenster.</translation>
    </message>
</context>
<context>
    <name>ServerViewPanel</name>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Layer</source>
        <translation>Schicht</translation>
    </message>
    <message>
        <source>Send a message: the encrypted bytes of every layer appear here.</source>
        <translation>Senden Sie eine Nachricht: Die verschlüsselten Bytes jeder Schicht erscheinen hier.</translation>
    </message>
    <message>
        <source>You wrote</source>
        <translation>Sie schrieben</translation>
    </message>
    <message>
        <source>The server received</source>
        <translation>Der Server empfing</translation>
    </message>
    <message>
        <source>{0} bytes: {1} × {2} encrypted values of 24 bits. Without your key they look like noise.</source>
        <translation>{0} Bytes: {1} × {2} verschlüsselte Werte zu 24 Bit. Ohne Ihren Schlüssel sehen sie wie Rauschen aus.</translation>
    </message>
</context>
<context>
    <name>SettingsDialog</name>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>Pages</source>
        <translation>Seiten</translation>
    </message>
    <message>
        <source>Server</source>
        <translation>Server</translation>
    </message>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>Privacy &amp;&amp; security</source>
        <translation>Datenschutz &amp;&amp; Sicherheit</translation>
    </message>
    <message>
        <source>Appearance</source>
        <translation>Darstellung</translation>
    </message>
    <message>
        <source>Data</source>
        <translation>Daten</translation>
    </message>
    <message>
        <source>About</source>
        <translation>Über</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>ShortcutsDialog</name>
    <message>
        <source>Keyboard shortcuts</source>
        <translation>Tastenkürzel</translation>
    </message>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>Sparkline</name>
    <message>
        <source>Seconds per token over time</source>
        <translation>Sekunden je Token im Zeitverlauf</translation>
    </message>
    <message>
        <source>Seconds per token over the last {0} tokens</source>
        <translation>Sekunden je Token über die letzten {0} Tokens</translation>
    </message>
</context>
<context>
    <name>StatusLine</name>
    <message>
        <source>Status: {0}</source>
        <translation>Zustand: {0}</translation>
    </message>
</context>
<context>
    <name>background</name>
    <message>
        <source>A file could not be read or written: {0}.</source>
        <translation>Eine Datei ließ sich nicht lesen oder schreiben: {0}.</translation>
    </message>
    <message>
        <source>Something went wrong.</source>
        <translation>Etwas ist schiefgegangen.</translation>
    </message>
</context>
<context>
    <name>connection</name>
    <message>
        <source>The server&apos;s name was not found.</source>
        <translation>Der Name des Servers wurde nicht gefunden.</translation>
    </message>
    <message>
        <source>Check the spelling of the URL and your network connection.</source>
        <translation>Prüfen Sie die Schreibweise der Adresse und Ihre Netzverbindung.</translation>
    </message>
    <message>
        <source>The computer answers, but no server runs there.</source>
        <translation>Der Rechner antwortet, aber dort läuft kein Server.</translation>
    </message>
    <message>
        <source>Start tacita-server there, or check the port in the URL.</source>
        <translation>Starten Sie dort tacita-server oder prüfen Sie den Port in der Adresse.</translation>
    </message>
    <message>
        <source>The server did not answer in time.</source>
        <translation>Der Server hat nicht rechtzeitig geantwortet.</translation>
    </message>
    <message>
        <source>Check that it is running and that no firewall is in between.</source>
        <translation>Prüfen Sie, ob er läuft und ob keine Firewall dazwischen steht.</translation>
    </message>
    <message>
        <source>The secure connection could not be established.</source>
        <translation>Die sichere Verbindung kam nicht zustande.</translation>
    </message>
    <message>
        <source>Ask the server&apos;s operator about its certificate.</source>
        <translation>Fragen Sie den Betreiber des Servers nach dessen Zertifikat.</translation>
    </message>
    <message>
        <source>Something answers there, but it is not a Tacita server.</source>
        <translation>Dort antwortet etwas, aber kein Tacita-Server.</translation>
    </message>
    <message>
        <source>Check the URL, including the port and any path.</source>
        <translation>Prüfen Sie die Adresse samt Port und Pfad.</translation>
    </message>
    <message>
        <source>The server speaks another version of the protocol.</source>
        <translation>Der Server spricht eine andere Fassung des Protokolls.</translation>
    </message>
    <message>
        <source>Update Tacita here or on the server, so that both match.</source>
        <translation>Bringen Sie Tacita hier oder auf dem Server auf denselben Stand.</translation>
    </message>
    <message>
        <source>The server did not accept the access token.</source>
        <translation>Der Server hat das Zugangskennwort nicht angenommen.</translation>
    </message>
    <message>
        <source>Enter the token that the server&apos;s operator gave you.</source>
        <translation>Geben Sie das Zugangskennwort ein, das Sie vom Betreiber haben.</translation>
    </message>
    <message>
        <source>The server does not have this model.</source>
        <translation>Der Server hat dieses Modell nicht.</translation>
    </message>
    <message>
        <source>Choose another model, or leave the model empty.</source>
        <translation>Wählen Sie ein anderes Modell oder lassen Sie das Feld leer.</translation>
    </message>
    <message>
        <source>The connection could not be tested.</source>
        <translation>Die Verbindung konnte nicht geprüft werden.</translation>
    </message>
    <message>
        <source>Check the URL and try again.</source>
        <translation>Prüfen Sie die Adresse und versuchen Sie es erneut.</translation>
    </message>
    <message>
        <source>Connected: round trip {0} ms.</source>
        <translation>Verbunden: Umlaufzeit {0} ms.</translation>
    </message>
    <message>
        <source>Expect about {0} and {1} per token.</source>
        <translation>Rechnen Sie mit etwa {0} und {1} je Token.</translation>
    </message>
</context>
<context>
    <name>engine</name>
    <message>
        <source>The engine could not be started.</source>
        <translation>Das Rechenprogramm konnte nicht gestartet werden.</translation>
    </message>
    <message>
        <source>The engine stopped unexpectedly.</source>
        <translation>Das Rechenprogramm hat unerwartet geendet.</translation>
    </message>
    <message>
        <source>Start it again; your chats are saved.</source>
        <translation>Starten Sie es neu; Ihre Chats sind gespeichert.</translation>
    </message>
    <message>
        <source>The engine is not running.</source>
        <translation>Das Rechenprogramm läuft nicht.</translation>
    </message>
</context>
<context>
    <name>erase</name>
    <message>
        <source>The key and all saved chats are deleted. This cannot be undone.</source>
        <translation>Der Schlüssel und alle gespeicherten Chats werden gelöscht. Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Erase keys and chats</source>
        <translation>Schlüssel und Chats löschen</translation>
    </message>
    <message>
        <source>Factory reset</source>
        <translation>Alles zurücksetzen</translation>
    </message>
    <message>
        <source>Settings, the key in the keyring, chats, hints, local models and logs are deleted. This cannot be undone.</source>
        <translation>Einstellungen, der Schlüssel im Schlüsselbund, Chats, Hints, lokale Modelle und Protokolle werden gelöscht. Das lässt sich nicht rückgängig machen.</translation>
    </message>
    <message>
        <source>Type “{0}” to go on</source>
        <translation>Zum Fortfahren „{0}“ eintippen</translation>
    </message>
</context>
<context>
    <name>figures</name>
    <message>
        <source>{0} MB</source>
        <translation>{0} MB</translation>
    </message>
    <message>
        <source>{0} s</source>
        <translation>{0} s</translation>
    </message>
    <message>
        <source>{0} min</source>
        <translation>{0} min</translation>
    </message>
    <message>
        <source>{0} h</source>
        <translation>{0} h</translation>
    </message>
    <message>
        <source>{0} up</source>
        <translation>{0} gesendet</translation>
    </message>
    <message>
        <source>{0} down</source>
        <translation>{0} empfangen</translation>
    </message>
    <message>
        <source>{0} per token</source>
        <translation>{0} je Token</translation>
    </message>
    <message>
        <source>{0} tokens</source>
        <translation>{0} Tokens</translation>
    </message>
    <message>
        <source>This chat: {0} up · {1} down · {2} tokens</source>
        <translation>Dieser Chat: {0} gesendet · {1} empfangen · {2} Tokens</translation>
    </message>
</context>
<context>
    <name>keys</name>
    <message>
        <source>Your master key is kept in the system keyring.</source>
        <translation>Ihr Hauptschlüssel liegt im Schlüsselbund des Systems.</translation>
    </message>
    <message>
        <source>Your master key is sealed with your passphrase.</source>
        <translation>Ihr Hauptschlüssel ist mit Ihrem Kennsatz versiegelt.</translation>
    </message>
    <message>
        <source>Keys live in memory only. Chats are forgotten when you quit.</source>
        <translation>Schlüssel sind nur im Arbeitsspeicher. Chats sind beim Beenden vergessen.</translation>
    </message>
    <message>
        <source>The master key is gone, so saved chats cannot be opened.</source>
        <translation>Der Hauptschlüssel ist weg, gespeicherte Chats lassen sich nicht öffnen.</translation>
    </message>
    <message>
        <source>There is no master key yet.</source>
        <translation>Es gibt noch keinen Hauptschlüssel.</translation>
    </message>
    <message>
        <source>The system keyring cannot be reached, so it is not known whether a key exists.</source>
        <translation>Der Schlüsselbund des Systems ist nicht erreichbar; ob es einen Schlüssel gibt, ist unbekannt.</translation>
    </message>
    <message>
        <source>The state of the keys is not known.</source>
        <translation>Der Zustand der Schlüssel ist unbekannt.</translation>
    </message>
</context>
<context>
    <name>library</name>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
</context>
<context>
    <name>shortcuts</name>
    <message>
        <source>Send the message</source>
        <translation>Nachricht senden</translation>
    </message>
    <message>
        <source>New line</source>
        <translation>Neue Zeile</translation>
    </message>
    <message>
        <source>Stop the reply, or leave search and editing</source>
        <translation>Antwort anhalten oder Suche und Bearbeiten verlassen</translation>
    </message>
    <message>
        <source>New chat</source>
        <translation>Neuer Chat</translation>
    </message>
    <message>
        <source>Temporary chat</source>
        <translation>Flüchtiger Chat</translation>
    </message>
    <message>
        <source>Search all chats</source>
        <translation>Alle Chats durchsuchen</translation>
    </message>
    <message>
        <source>Find in this chat</source>
        <translation>In diesem Chat suchen</translation>
    </message>
    <message>
        <source>Make another reply</source>
        <translation>Andere Antwort erzeugen</translation>
    </message>
    <message>
        <source>Copy the last reply</source>
        <translation>Letzte Antwort kopieren</translation>
    </message>
    <message>
        <source>Show or hide the chats</source>
        <translation>Chats ein- oder ausblenden</translation>
    </message>
    <message>
        <source>What the server sees</source>
        <translation>Was der Server sieht</translation>
    </message>
    <message>
        <source>Write a message</source>
        <translation>Nachricht schreiben</translation>
    </message>
    <message>
        <source>Larger, smaller, normal text</source>
        <translation>Schrift größer, kleiner, normal</translation>
    </message>
    <message>
        <source>Rename or delete the chosen chat</source>
        <translation>Gewählten Chat umbenennen oder löschen</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
    <message>
        <source>This list</source>
        <translation>Diese Liste</translation>
    </message>
    <message>
        <source>Quit</source>
        <translation>Beenden</translation>
    </message>
</context>
<context>
    <name>status</name>
    <message>
        <source>Offline</source>
        <translation>Nicht verbunden</translation>
    </message>
    <message>
        <source>Starting</source>
        <translation>Start</translation>
    </message>
    <message>
        <source>Connecting</source>
        <translation>Verbinden</translation>
    </message>
    <message>
        <source>Preparing the model for the local server</source>
        <translation>Modell für den lokalen Server vorbereiten</translation>
    </message>
    <message>
        <source>Preparing keys</source>
        <translation>Schlüssel vorbereiten</translation>
    </message>
    <message>
        <source>Checking the server&apos;s hints</source>
        <translation>Hints des Servers prüfen</translation>
    </message>
    <message>
        <source>Downloading hints</source>
        <translation>Hints laden</translation>
    </message>
    <message>
        <source>Ready</source>
        <translation>Bereit</translation>
    </message>
    <message>
        <source>Reading the prompt</source>
        <translation>Eingabe lesen</translation>
    </message>
    <message>
        <source>Writing</source>
        <translation>Schreiben</translation>
    </message>
    <message>
        <source>Connection lost, reconnecting</source>
        <translation>Verbindung verloren, neuer Versuch</translation>
    </message>
    <message>
        <source>Working</source>
        <translation>In Arbeit</translation>
    </message>
    <message>
        <source>· token {0}</source>
        <translation>· Token {0}</translation>
    </message>
    <message>
        <source>· {0} of {1}</source>
        <translation>· {0} von {1}</translation>
    </message>
</context>
<context>
    <name>vault</name>
    <message>
        <source>The saved chats cannot be opened.</source>
        <translation>Die gespeicherten Chats lassen sich nicht öffnen.</translation>
    </message>
</context>
</TS>
