; The Windows installer. Built by .github/workflows/installers.yml; not run where this was written.
;   makensis -DVERSION=... -DBUNDLE=build\package\dist\tacita -DOUT=dist\tacita-setup.exe packaging\windows\tacita.nsi
; For one user, without administrator rights. Chats (%LOCALAPPDATA%\tacita) and the key in the Credential Manager stay
; when the program is removed.
Unicode true
SetCompressor /SOLID lzma
!include "MUI2.nsh"
!include "WordFunc.nsh"

Name "Tacita"
OutFile "${OUT}"
InstallDir "$LOCALAPPDATA\Programs\Tacita"
InstallDirRegKey HKCU "Software\Tacita" "Folder"
RequestExecutionLevel user
VIProductVersion "${VERSION}.0"
VIAddVersionKey "ProductName" "Tacita"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "FileDescription" "Chat with a language model that never hears you"
VIAddVersionKey "LegalCopyright" "Apache-2.0"

!define MUI_ICON "tacita.ico"
!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\Tacita"
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_RUN "$INSTDIR\tacita-app.exe"
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
!insertmacro MUI_LANGUAGE "German"

Function .onInit
    ReadRegStr $0 HKCU "${UNINSTALL}" "DisplayVersion"
    StrCmp $0 "" fresh
    ${VersionCompare} "$0" "${VERSION}" $1
    StrCmp $1 "1" 0 fresh
    MessageBox MB_ICONEXCLAMATION|MB_OK "Version $0 of Tacita is installed, which is newer. An older one may not be able to read its chats, so nothing was changed. To go back all the same, remove the newer version first." /SD IDOK
    Abort
fresh:
FunctionEnd

Section
    RMDir /r "$INSTDIR\_internal"
    SetOutPath "$INSTDIR"
    File /r "${BUNDLE}\*.*"
    CreateShortCut "$SMPROGRAMS\Tacita.lnk" "$INSTDIR\tacita-app.exe"
    WriteUninstaller "$INSTDIR\uninstall.exe"
    WriteRegStr HKCU "Software\Tacita" "Folder" "$INSTDIR"
    WriteRegStr HKCU "${UNINSTALL}" "DisplayName" "Tacita"
    WriteRegStr HKCU "${UNINSTALL}" "DisplayVersion" "${VERSION}"
    WriteRegStr HKCU "${UNINSTALL}" "DisplayIcon" "$INSTDIR\tacita-app.exe"
    WriteRegStr HKCU "${UNINSTALL}" "Publisher" "The Tacita developers"
    WriteRegStr HKCU "${UNINSTALL}" "UninstallString" '"$INSTDIR\uninstall.exe"'
    WriteRegDWORD HKCU "${UNINSTALL}" "NoModify" 1
SectionEnd

Section "Uninstall"
    RMDir /r "$INSTDIR\_internal"
    Delete "$INSTDIR\*.*"
    RMDir "$INSTDIR"
    Delete "$SMPROGRAMS\Tacita.lnk"
    DeleteRegKey HKCU "${UNINSTALL}"
    DeleteRegKey HKCU "Software\Tacita"
    MessageBox MB_OK "Your chats are still in %LOCALAPPDATA%\tacita, the master key in the Credential Manager. Delete both if you want them gone." /SD IDOK
SectionEnd
